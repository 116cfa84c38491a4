"""The generated JSON form: the golden record, values of each type, times."""

import json
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st

from runmeter.v1 import json_reading, json_writing
from runmeter.v1.json_values import BadFields, TimeError, parse_number, parse_time, time_text
from runmeter.v1.run_service_pb2 import StoredRun

Golden = Callable[[str], Any]


def written(stored: StoredRun) -> bytes:
    """Return a stored run as JSON."""
    return msgspec.json.encode(json_writing.stored_run_to_json(stored))


def refused(record: Any) -> list[tuple[str, str]]:
    """Return the bad fields of a run."""
    with pytest.raises(BadFields) as caught:
        json_reading.run_from_json(record)
    return [tuple(violation) for violation in caught.value.violations]


def test_golden(golden: Golden) -> None:
    """The golden message is written as the golden record, in its order, and read back."""
    stored = json_format.ParseDict(golden("stored_run.wire.json"), StoredRun())
    record, expected = json.loads(written(stored)), golden("run.json")
    # as text, because 2.0 == 2
    assert json.dumps(record, sort_keys=True) == json.dumps(expected, sort_keys=True)
    assert list(record) == list(expected)
    assert list(record["payload"]) == list(expected["payload"])
    assert json_reading.run_from_json(golden("run.json")) == stored.run


def test_values_of_a_newer_contract(golden: Golden) -> None:
    """Unknown enum values are left out."""
    stored = json_format.ParseDict(golden("stored_run.wire.json"), StoredRun())
    payload = stored.run.payload
    stored.run.state = payload.percentile_method = payload.host.clock_source = 99  # type: ignore[assignment]
    payload.containers[0].cpu_source = 99  # type: ignore[assignment]
    record = json.loads(written(stored))
    assert "state" not in record
    assert "percentile_method" not in record["payload"]
    assert "clock_source" not in record["payload"]["host"]
    assert "cpu_source" not in record["payload"]["containers"][0]


def test_null_is_absent(golden: Golden) -> None:
    """``null`` in a field that may be left out leaves it out."""
    record = golden("run.json")
    record["labels"] = record["runner_name"] = record["payload"]["host"] = None
    run = json_reading.run_from_json(record)
    assert not run.labels
    assert not run.HasField("runner_name")
    assert not run.payload.HasField("host")


def test_unknown_fields(golden: Golden) -> None:
    """Unknown fields are ignored, or refused with ``exact``."""
    record = golden("run.json")
    record["payload"]["host"]["colour"] = [1]
    json_reading.run_from_json(record)
    with pytest.raises(BadFields) as caught:
        json_reading.run_from_json(record, exact=True)
    fields = [field for field, _ in caught.value.violations]
    assert sorted(fields) == ["id", "payload.host.colour", "received_at", "updated_at"]


def test_empty_object_is_present(golden: Golden) -> None:
    """An empty object is present, not absent."""
    record = golden("run.json")
    record["payload"]["host"] = {}
    assert json_reading.run_from_json(record).payload.HasField("host")


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        ("run_id", None, "must be a string, not null"),
        ("revision", "4", "must be an integer, not a string"),
        ("revision", 4.5, "is 4.5; must be an integer"),
        ("revision", True, "must be an integer, not a boolean"),
        ("revision", 2**63, "is 9223372036854775808; must be at most 9223372036854775807"),
        ("revision", -1.0, "is -1.0; must be at least 1"),
        ("revision", 10**400, "number out of range; must be at most 9223372036854775807"),
        ("revision", parse_number("-1e400"), "number out of range; must be at least 1"),
        ("run_attempt", -(2**31) - 1, "is -2147483649; must be 1 to 2147483647"),
        ("exit_code", 1e308, "number out of range; must be 0 to 255"),
        ("state", "COMPLETED", "must be one of running, interrupted, completed"),
        ("state", 3, "must be one of running, interrupted, completed"),
        ("labels", [], "must be an object, not an array"),
        ("payload", [], "must be an object, not an array"),
        ("payload.duration_seconds", False, "must be a number, not a boolean"),
        ("payload.duration_seconds", 10**400, "number out of range"),
        ("payload.duration_seconds", parse_number("1e400"), "number out of range"),
        ("payload.mem_used_bytes.avg", -0.4, "is -0.4; must be at least 0"),
        ("payload.mem_used_bytes.avg", {}, "must be a number, not an object"),
        ("payload.containers", None, "must be an array, not null"),
        ("payload.host", 1, "must be an object, not a number"),
        ("payload.start_time", 1, "must be a string, not a number"),
        ("payload.start_time", "2026-02-30T00:00:00Z", "is not a date and time of the calendar"),
    ],
)
def test_wrong_types(golden: Golden, path: str, value: Any, reason: str) -> None:
    """No value becomes another type, except whole floats; the reason says what is accepted."""
    record = golden("run.json")
    *outer, name = path.split(".")
    holder = record
    for part in outer:
        holder = holder[part]
    holder[name] = value
    ((field, found),) = refused(record)
    assert (field, found[: len(reason)]) == (path, reason)


def test_all_bad_fields_at_once(golden: Golden) -> None:
    """Every bad field is named with its path, at most 100 of them."""
    record = golden("run.json")
    del record["organization"]
    record["labels"]["os"] = 1
    del record["payload"]["containers"][0]["cpu_cores"]["p95"]
    record["payload"]["containers"].append({})
    assert refused(record) == [
        ("organization", "is required"),
        ("labels[os]", "must be a string, not a number"),
        ("payload.containers[0].cpu_cores.p95", "is required"),
        ("payload.containers[2].name", "is required"),
    ]
    record["payload"]["containers"] = [{}] * 1000
    assert len(refused(record)) == 100
    assert refused([]) == [("", "must be an object, not an array")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-02-06T14:30:02.185Z", "2026-02-06T14:30:02.185Z"),
        ("2026-02-06t14:30:02z", "2026-02-06T14:30:02.000Z"),
        ("2026-02-06 14:30:02Z", "2026-02-06T14:30:02.000Z"),
        ("2026-02-06T14:30:02.1+05:30", "2026-02-06T09:00:02.100Z"),
        ("2026-02-06T14:30:02.999999999-00:00", "2026-02-06T14:30:02.999Z"),
        ("1969-12-31T23:59:59.9999Z", "1969-12-31T23:59:59.999Z"),
        ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00.000Z"),
        ("2017-01-01T01:59:60.5+02:00", "2017-01-01T00:00:00.500Z"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000Z"),
        ("9999-12-31T23:59:59.999Z", "9999-12-31T23:59:59.999Z"),
    ],
)
def test_times(text: str, expected: str) -> None:
    """Times are read with any offset, and written as UTC with three decimals, the rest cut off."""
    assert time_text(parse_time(text)) == expected


@pytest.mark.parametrize(
    "text",
    [
        *("", "1770388202", "2026-02-06", "2026-02-06T14:30Z", "2026-02-06T14:30:02"),
        *("2026-02-06T14:30:02.Z", "2026-02-06T14:30:02Z\n", "2026-02-06T14:30:02+0530"),
        *("2026-02-30T14:30:02Z", "2026-02-06T24:00:01Z", "2026-02-06T14:30:02+24:00"),
        *("2026-02-06T14:30:60Z", "2026-02-06T14:30:61Z", "9999-12-31T23:59:60Z"),
        *("0000-01-01T00:00:00Z", "0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00"),
        "２026-02-06T14:30:02Z",  # noqa: RUF001
    ],
)
def test_refused_times(text: str) -> None:
    """A time of another form, without offset or outside the calendar is refused."""
    with pytest.raises(TimeError):
        parse_time(text)


@given(st.datetimes(datetime(2, 1, 1), datetime(9998, 12, 31)), st.integers(-23 * 60, 23 * 60))
def test_times_against_datetime(moment: datetime, offset_minutes: int) -> None:
    """Every time with an offset is the same moment as in the standard library."""
    aware = moment.replace(tzinfo=timezone(timedelta(minutes=offset_minutes)))
    expected = (aware - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    assert parse_time(aware.isoformat()) == expected


@given(st.text(max_size=40))
def test_any_time(text: str) -> None:
    """Any text is a time or a TimeError."""
    with suppress(TimeError):
        parse_time(text)


@given(st.integers(-62135596800000, 253402300799999))
def test_every_time(time_ms: int) -> None:
    """Every time of the years 1 to 9999 is read as it was written, to the millisecond."""
    assert parse_time(time_text(time_ms)) == time_ms
