"""Write docs/metrics.md from what receiver and gateway serve as /metrics.

``--check`` writes nothing and exits 1 if the file is stale.
"""

import sys
import tempfile

from generated import DOCS, write_or_check
from prometheus_client.parser import text_string_to_metric_families

from runmeter.gateway.metrics import Metrics as GatewayMetrics
from runmeter.gateway.metrics import WorkersMetrics
from runmeter.receiver.metrics import Metrics as ReceiverMetrics

HEAD = """\
# Metrics

Receiver and gateway each serve `/metrics` for Prometheus on `--ops-addr` (`:9464`, `:9465`), without
encryption and without a token: for the inside of a cluster. The collector serves nothing; what it
measures is in the run, and what happens to the run in its log.

| question | metric |
|---|---|
| do pushes arrive? | `rate(runmeter_receiver_calls_total{method="/runmeter.v1.IngestService/PushRun",code="OK"}[5m])` |
| are any refused, and why? | `runmeter_receiver_calls_total` by `code`; `runmeter_receiver_authentications_refused_total` by `reason` |
| does the database keep up? | `runmeter_receiver_queue_pushes` (at 1024 pushes are refused), `runmeter_receiver_commit_duration_seconds`, `runmeter_receiver_database_up` |
| does the disk fill up? | `runmeter_receiver_database_size_bytes`; a SQLite file does not shrink |
| when does the certificate expire? | `runmeter_receiver_tls_certificate_expiry_timestamp_seconds - time()`, for the gateway likewise |
| do clients get their answers? | `runmeter_gateway_requests_total` by `status`; 5xx are errors of the services |
| is the gateway full? | `runmeter_gateway_requests_refused_total` by `reason`, `runmeter_gateway_connections` |
| does the gateway reach the receiver? | `runmeter_gateway_receiver_calls_total` by `code` |
| do workers end? | `runmeter_gateway_workers_died_total`, with `--workers` above 1 |

A run that does not arrive has no metric: the receiver does not know about it. The collector's log
does (`run.kept`, `run.rejected`: [events](events.md#collector)), and so does its
[exit code](errors.md#exit-codes).

Both services also serve the usual `process_…` metrics: CPU time, memory, open files.
"""  # noqa: E501 rows of a table


def receiver() -> bytes:
    """Return what a receiver serves that has all metrics."""
    metrics = ReceiverMetrics("0", ())
    metrics.watch_queue(int, int)
    metrics.certificate_expires(0.0)
    return metrics.text()


def gateway() -> bytes:
    """Return what a gateway serves that has all metrics."""
    metrics = GatewayMetrics("0")
    metrics.certificate_expires(0.0)
    with tempfile.TemporaryDirectory() as folder:
        return metrics.text() + WorkersMetrics("0", folder).text()


def section(name: str, text: bytes) -> str:
    """Return the table of a service's own metrics."""
    rows = {}
    for family in text_string_to_metric_families(text.decode()):
        ending = {"counter": "_total", "info": "_info"}.get(family.type, "")
        if family.name.startswith("runmeter_") and not family.name.endswith("_created"):
            metric = f"`{family.name}{ending}`"
            rows[family.name] = f"| {metric} | {family.type} | {family.documentation} |"
    head = [f"## {name}\n", "| metric | type | |", "|---|---|---|"]
    return "\n".join([*head, *sorted(rows.values()), ""])


def document() -> str:
    """Return the file's content as it should be."""
    return "\n".join([HEAD, section("receiver", receiver()), section("gateway", gateway())])


if __name__ == "__main__":
    sys.exit(write_or_check(DOCS / "metrics.md", document))
