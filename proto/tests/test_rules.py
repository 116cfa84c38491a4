"""The generated checks, at the bounds of every rule."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from google.protobuf import json_format
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from runmeter.v1 import rules
from runmeter.v1.checks import Checks, Violation
from runmeter.v1.run_pb2 import Run, Scope
from runmeter.v1.run_service_pb2 import StoredRun

Golden = Callable[[str], Any]
Change = Callable[[Run], Any]


@pytest.fixture
def run(golden: Golden) -> Run:
    """Return the golden run."""
    return json_format.ParseDict(golden("stored_run.wire.json"), StoredRun()).run


def violations(run: Run) -> list[Violation]:
    """Return what is wrong with a run."""
    checks = Checks()
    rules.check_run(checks, "run", run)
    assert checks.found_count == len(checks.violations) + checks.omitted_count
    return checks.violations


def test_golden(run: Run) -> None:
    """The golden run has no violations and is not changed."""
    before = run.SerializeToString(deterministic=True)
    assert violations(run) == []
    assert run.SerializeToString(deterministic=True) == before


def put(path: str, *values: Any) -> list[tuple[str, Any]]:
    """Return a path with each of some values."""
    return [(path, value) for value in values]


def set_at(run: Run, path: str, value: Any) -> None:
    """Set a field of a run; numbers in the path are places in lists."""
    *outer, name = path.split(".")
    holder: Any = run
    for part in outer:
        holder = holder[int(part)] if part.isdigit() else getattr(holder, part)
    if name == "labels":
        holder.labels.clear()
        holder.labels.update(value)
    else:
        setattr(holder, name, value)


CONTAINER, PROCESS = "payload.containers.0", "payload.top_cpu_processes.0"
GOOD = [
    *put("revision", 1, 2**63 - 1),
    *put("run_id", "", "x" * 255, "é" * 127),
    *put("run_attempt", 1, 2**31 - 1),
    *put("exit_code", 0, 255),
    *put("labels", {}, {str(n): "" for n in range(32)}, {"k" * 63: "v" * 255}),
    *put("collector_version", "", "x" * 63),
    *put("next_push_within_seconds", 5e-324, 86400.0),
    *put("payload.cpu_total_percent.peak", 101.0),
    *put(f"{CONTAINER}.name", "x" * 1024),
    *put(f"{CONTAINER}.limits.cpu_cores", 5e-324, 1e308),
    *put(f"{CONTAINER}.limits.memory_bytes", 1),
    *put(f"{CONTAINER}.memory_bytes.peak", 2**63 - 1),
    *put(f"{PROCESS}.pid", 1),
    *put(f"{PROCESS}.name", ""),
    *put("payload.host.cgroup_version", 1, 2),
    *put("payload.host.kernel", ""),
]


@pytest.mark.parametrize(("path", "value"), GOOD)
def test_bounds_are_allowed(run: Run, path: str, value: Any) -> None:
    """The lowest and the highest value of every range are allowed."""
    set_at(run, path, value)
    assert violations(run) == []


BAD = [
    ("push_id", "0C8F5B1E-3D52-4C8E-9A57-6F1F0D2B7A44", "must be a UUID of 36 characters"),
    ("push_id", "", "must be a UUID of 36 characters in lower case"),
    ("state", 0, "must be one of RUN_STATE_RUNNING, RUN_STATE_INTERRUPTED, RUN_STATE_COMPLETED"),
    ("state", 9, "must be one of RUN_STATE_RUNNING"),
    ("revision", 0, "is 0; must be at least 1"),
    ("run_id", "x" * 256, "has 256 bytes; 0 to 255 are allowed"),
    ("run_id", "é" * 128, "has 256 bytes; 0 to 255 are allowed"),
    ("run_id", "a\x85", "has control characters"),
    ("run_attempt", 0, "is 0; must be 1 to 2147483647"),
    ("runner_name", "", "is required"),
    ("exit_code", 256, "is 256; must be 0 to 255"),
    ("labels", {str(n): "" for n in range(33)}, "has 33 entries; at most 32 are allowed"),
    ("next_push_within_seconds", 0.0, "is 0; must be above 0"),
    ("next_push_within_seconds", 86400.5, "is 86400.5; must be at most 86400"),
    ("payload.duration_seconds", math.nan, "is not a finite number"),
    ("payload.duration_seconds", math.inf, "is not a finite number"),
    ("payload.duration_seconds", -1.0, "is -1; must not be negative"),
    ("payload.sample_count", -1, "is -1; must be at least 0"),
    ("payload.cpu_total_percent.peak", 101.5, "is 101.5; must be at most 101"),
    (f"{CONTAINER}.name", "", "is required"),
    (f"{CONTAINER}.name", "sidecar", None),
    (f"{CONTAINER}.limits.cpu_cores", 0.0, "is 0; must be above 0"),
    (f"{CONTAINER}.limits.memory_bytes", 0, "is 0; must be at least 1"),
    (f"{CONTAINER}.memory_bytes.avg", -1, "is -1; must be at least 0"),
    (f"{PROCESS}.pid", 0, "is 0; must be at least 1"),
    ("payload.host.cgroup_version", 3, "is 3; must be 1 to 2"),
]


@pytest.mark.parametrize(("path", "value", "reason"), BAD)
def test_beyond_bounds(run: Run, path: str, value: Any, reason: str | None) -> None:
    """A value out of its range is one violation, with the path of the field."""
    set_at(run, path, value)
    ((field, found),) = violations(run)
    if reason is None:  # two containers have one name: the violation is of the second
        assert field == "run.payload.containers[1].name"
        assert found == "another container has the same name"
    else:
        assert field == "run." + path.replace(".0", "[0]")
        assert found.startswith(reason)


def numbers(message: Message, path: str) -> Iterator[tuple[Message, FieldDescriptor, str]]:
    """Yield all numbers that are set in a message, with their paths."""
    for field, value in message.ListFields():
        here = f"{path}.{field.name}"
        if field.cpp_type == field.CPPTYPE_MESSAGE:
            if field.name in ("labels", "start_time", "end_time"):
                continue
            for index, part in enumerate(value if field.is_repeated else [value]):
                yield from numbers(part, f"{here}[{index}]" if field.is_repeated else here)
        elif field.cpp_type not in (field.CPPTYPE_STRING, field.CPPTYPE_ENUM):
            yield message, field, here


def test_no_number_is_negative_or_infinite(run: Run) -> None:
    """Every number of a run is finite and at least 0; a bad one is the only violation."""
    count = 0
    for holder, field, path in numbers(run, "run"):
        good = getattr(holder, field.name)
        bad = (math.nan, math.inf, -math.inf, -0.5) if isinstance(good, float) else (-1,)
        for value in bad:
            setattr(holder, field.name, value)
            assert [field for field, _ in violations(run)] == [path]
            setattr(holder, field.name, good)
            count += 1
    assert violations(run) == []
    assert count > 150


@pytest.mark.parametrize(
    ("change", "field", "reason"),
    [
        (lambda r: r.ClearField("payload"), "run.payload", "is required"),
        (lambda r: r.payload.ClearField("start_time"), "run.payload.start_time", "is required"),
        (
            lambda r: r.payload.end_time.CopyFrom(Timestamp()),
            "run.payload.end_time",
            "is before start_time",
        ),
        (
            lambda r: setattr(r.payload.start_time, "nanos", -1),
            "run.payload.start_time",
            "has nanos outside 0 to 999999999",
        ),
        (
            lambda r: setattr(r.payload.end_time, "seconds", 253402300800),
            "run.payload.end_time",
            "is not a time of the years 1 to 9999",
        ),
        (lambda r: r.labels.update({"a\n": ""}), "run.labels[0].key", "has control characters"),
        (lambda r: r.labels.update({"os": "\0"}), "run.labels[os]", "has control characters"),
        (
            lambda r: setattr(r.payload.mem_used_bytes, "p50", 2**40),
            "run.payload.mem_used_bytes",
            "is not ordered: p50 is above p75",
        ),
        (
            lambda r: setattr(r.payload.mem_used_bytes, "avg", 2**40),
            "run.payload.mem_used_bytes",
            "is not ordered: avg is above peak",
        ),
        (
            lambda r: setattr(r.payload.mem_used_percent, "p99", 40.0),
            "run.payload.mem_used_percent",
            "is not ordered: must be peak ≥ p99 ≥ p95 ≥ p75 ≥ p50",
        ),
        (
            lambda r: r.payload.containers.extend([r.payload.containers[0]] * 4095),
            "run.payload.containers",
            "has 4097 entries; at most 4096 are allowed",
        ),
    ],
)
def test_rules_between_fields(run: Run, change: Change, field: str, reason: str) -> None:
    """Presence, order, times and lengths of lists are checked."""
    change(run)
    assert violations(run) == [(field, reason)]


def test_buckets_may_be_out_of_order_a_little(run: Run) -> None:
    """Percentiles of logarithmic buckets may be out of order by 2 %, exact ones may not."""
    run.payload.mem_used_percent.p99 = 31.5
    assert len(violations(run)) == 1
    run.payload.percentile_method = 2
    assert violations(run) == []


def test_stored_form(run: Run) -> None:
    """A checked message has no -0.0, whole milliseconds and known enum values."""
    run.payload.duration_seconds = run.payload.containers[0].cpu_seconds = -0.0
    run.payload.cpu_total_percent.avg = -0.0
    run.payload.start_time.nanos += 999_999
    run.payload.host.clock_source = run.payload.percentile_method = 9  # type: ignore[assignment]
    assert violations(run) == []
    assert math.copysign(1, run.payload.duration_seconds) == 1
    assert math.copysign(1, run.payload.containers[0].cpu_seconds) == 1
    assert math.copysign(1, run.payload.cpu_total_percent.avg) == 1
    assert run.payload.start_time.nanos == 185_000_000
    assert run.payload.host.clock_source == run.payload.percentile_method == 0


def test_scope() -> None:
    """Names are not empty and have no empty part and no `.` or `..` between slashes."""
    checks = Checks()
    rules.check_scope(checks, "run.scope", Scope(repository="a//b", workflow="../x", job="a//b"))
    assert checks.violations == [
        ("run.scope.organization", "is required"),
        ("run.scope.repository", "has an empty part between slashes"),
        ("run.scope.workflow", "has a part `.` or `..` between slashes"),
    ]


def test_the_first_hundred_are_listed(run: Run) -> None:
    """At most 100 violations are listed, the rest are counted."""
    for container in [run.payload.containers.add() for _ in range(150)]:
        container.sample_count = -1
    checks = Checks()
    rules.check_run(checks, "run", run)
    assert len(checks.violations) == 100
    assert checks.omitted_count == 150 * 3 - 1 - 100
