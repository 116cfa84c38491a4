"""Metrics, as Prometheus reads them."""

from prometheus_client.parser import text_string_to_metric_families

from runmeter.service.registry import Registry


def shown(registry: Registry) -> dict[str, float]:
    """Return every sample by its name and labels."""
    return {
        f"{sample.name}{sorted(sample.labels.items()) if sample.labels else ''}": sample.value
        for family in text_string_to_metric_families(registry.text().decode())
        for sample in family.samples
    }


def test_metrics() -> None:
    """Names begin with that of the service; versions and figures of the process are included."""
    registry = Registry("gateway", "1.2.3")
    registry.counter("requests", "Requests.", "status").labels("200").inc()
    registry.gauge("connections", "Open connections.").set(3)
    registry.histogram("seconds", "Duration.", (0.1, 1), "method").labels("GET").observe(0.5)
    found = shown(registry)
    assert found["runmeter_gateway_requests_total[('status', '200')]"] == 1
    assert found["runmeter_gateway_connections"] == 3
    assert found["runmeter_gateway_seconds_bucket[('le', '0.1'), ('method', 'GET')]"] == 0
    assert found["runmeter_gateway_seconds_bucket[('le', '1.0'), ('method', 'GET')]"] == 1
    assert found["process_open_fds"] > 2
    (build,) = (name for name in found if name.startswith("runmeter_gateway_build_info"))
    assert "('version', '1.2.3')" in build


def test_certificate() -> None:
    """There is a metric for the expiry of a certificate once it is set."""
    registry = Registry("receiver", "0")
    assert b"certificate" not in registry.text()
    for at_unix in (1.0, 2.0):
        registry.certificate_expires(at_unix)
    name = "runmeter_receiver_tls_certificate_expiry_timestamp_seconds"
    assert shown(registry)[name] == 2.0
