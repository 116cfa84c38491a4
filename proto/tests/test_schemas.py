"""The generated schemas: descriptions, units, bounds, examples."""

import json
from importlib.resources import files
from typing import Any

SCHEMAS: dict[str, Any] = json.loads((files("runmeter.v1") / "schemas.json").read_text())


def test_every_field_is_described() -> None:
    """Every field has the comment of the contract, a unit, and an example or a schema."""
    count = 0
    for schema in SCHEMAS.values():
        assert schema["description"]
        assert schema["examples"]
        for name, field in schema["properties"].items():
            count += 1
            assert field["description"].endswith("."), name
            assert field["x-unit"], name
            assert "examples" in field or "schemas/" in json.dumps(field), name
    assert count > 90


def test_bounds_of_the_rules() -> None:
    """Schemas have the bounds that the checks have."""
    run, container = SCHEMAS["Run"]["properties"], SCHEMAS["Container"]["properties"]
    assert run["labels"]["maxProperties"] == 32
    assert (run["revision"]["minimum"], run["revision"]["maximum"]) == (1, 2**63 - 1)
    assert run["next_push_within_seconds"]["exclusiveMinimum"] == 0
    assert run["push_id"]["minLength"] == run["push_id"]["maxLength"] == 36
    assert container["name"]["maxLength"] == 1024
    assert container["oom_kills"]["type"] == ["integer", "null"]
    assert container["cpu_source"]["enum"] == ["cgroup", "ledger", None]
    assert container["cpu_cores"]["x-unit"] == "cores"
    assert SCHEMAS["Summary"]["properties"]["containers"]["maxItems"] == 4096
    assert container["memory_peak_bytes"]["type"] == ["integer", "null"]
    assert SCHEMAS["ByteStatistics"]["properties"]["avg"]["type"] == "number"


def test_required() -> None:
    """Only fields that JSON must have are required."""
    names = ["organization", "repository", "workflow", "job"]
    assert SCHEMAS["Run"]["required"] == [*names, "run_id", "payload"]
    assert SCHEMAS["Container"]["required"] == ["name"]
    assert list(SCHEMAS["StoredRun"]["properties"])[-3:] == ["received_at", "updated_at", "payload"]
