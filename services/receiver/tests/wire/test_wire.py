"""runmeter.receiver.wire: what is read, what is refused, what is written."""

import math
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2
from hypothesis import given
from hypothesis import strategies as st

from runmeter.receiver.errors import Busy, InvalidRequest, MalformedRequest, Violation
from runmeter.receiver.model import RunState, StoredRun
from runmeter.receiver.rpc import status
from runmeter.receiver.wire import reading, writing
from runmeter.v1 import run_pb2, run_service_pb2, token_service_pb2

Change = Callable[[run_pb2.Run], Any]
S = "run.payload"
C = f"{S}.containers[0]"
P = f"{S}.top_cpu_processes[0]"
NAN, INF = math.nan, math.inf


def fields_of(call: Callable[[], Any]) -> list[str]:
    """Return the fields of the violations that a call raises."""
    with pytest.raises(InvalidRequest) as caught:
        call()
    return [violation.field for violation in caught.value.violations]


def test_golden_run_is_itself_again(
    stored_run: run_service_pb2.StoredRun, read: Callable[..., Any]
) -> None:
    """The golden stored run, read and written, is the same message."""
    run = read(stored_run.run)
    assert writing.run_to_wire(run) == stored_run.run
    written = writing.page_to_wire(
        [
            StoredRun(
                id=7,
                state=run.state,
                received_at_ms=stored_run.received_at.ToMilliseconds(),
                updated_at_ms=stored_run.updated_at.ToMilliseconds(),
                payload=writing.run_bytes(run),
            )
        ]
    )
    assert list(written.page.runs) == [stored_run]


def test_smallest_run(message: run_pb2.Run, read: Callable[..., Any]) -> None:
    """Only what the contract requires is enough; the rest reads as absent."""
    smallest = run_pb2.Run(
        scope=message.scope,
        push_id=message.push_id,
        state=run_pb2.RUN_STATE_RUNNING,
        revision=1,
        payload=run_pb2.Summary(start_time=Timestamp(), end_time=Timestamp()),
    )
    run = read(smallest)
    assert (run.run_id, run.run_attempt, run.runner_name, run.labels) == ("", None, None, ())
    assert run.payload.containers == ()
    assert run.payload.host is None
    assert writing.run_to_wire(run) == smallest


def test_times_are_cut_to_milliseconds(message: run_pb2.Run, read: Callable[..., Any]) -> None:
    """What is finer than a millisecond is cut off, before 1970 too."""
    message.payload.start_time.CopyFrom(Timestamp(seconds=-1, nanos=999_999_999))
    run = read(message)
    assert run.payload.start_time_ms == -1
    written = writing.run_to_wire(run).payload.start_time
    assert written == Timestamp(seconds=-1, nanos=999_000_000)


def test_unknown_numbers_of_describing_enums_are_unknown(
    message: run_pb2.Run, read: Callable[..., Any]
) -> None:
    """A newer collector's way of counting reads as UNSPECIFIED and is not refused."""
    message.payload.percentile_method = 99
    message.payload.containers[0].cpu_source = 99
    message.payload.host.clock_source = 99
    payload = read(message).payload
    assert (payload.percentile_method, payload.host.clock_source) == (0, 0)
    assert payload.containers[0].cpu_source == 0


def test_rounding_is_no_disorder(message: run_pb2.Run, read: Callable[..., Any]) -> None:
    """A mean a hair above the peak, and percentiles off by a log bucket, are accepted."""
    rates = message.payload.cpu_total_percent
    rates.CopyFrom(run_pb2.RateStatistics(peak=0.1, p99=0.1, p95=0.1, p75=0.1, p50=0.1))
    rates.avg = math.nextafter(0.1, 1)
    read(message)
    message.payload.percentile_method = run_pb2.PERCENTILE_METHOD_LOG_BUCKETS
    rates.CopyFrom(run_pb2.RateStatistics(peak=100, p99=101, p95=100, p75=100, p50=100, avg=100))
    read(message)


ACCEPTED: list[tuple[str, Change]] = [
    ("exit code 255", lambda m: setattr(m, "exit_code", 255)),
    ("largest revision", lambda m: setattr(m, "revision", 2**63 - 1)),
    ("largest attempt", lambda m: setattr(m, "run_attempt", 2**31 - 1)),
    ("empty label value", lambda m: m.labels.update({"k" * 63: ""})),
    ("long label value", lambda m: m.labels.update({"k": "v" * 255})),
    ("32 labels", lambda m: m.labels.update({f"k{n}": "" for n in range(30)})),
    ("promise while completed", lambda m: setattr(m, "next_push_within_seconds", 86400)),
    ("no containers", lambda m: m.payload.ClearField("containers")),
    ("interrupted", lambda m: setattr(m, "state", run_pb2.RUN_STATE_INTERRUPTED)),
    ("same start and end", lambda m: m.payload.end_time.CopyFrom(m.payload.start_time)),
    ("process without name", lambda m: setattr(m.payload.top_cpu_processes[0], "name", "")),
    ("slashes in names", lambda m: setattr(m.payload.containers[0], "name", "/docker/../x")),
    ("largest bytes", lambda m: setattr(m.payload.containers[0].memory_bytes, "peak", 2**63 - 1)),
    ("4096 containers", lambda m: containers(m, 4096)),
    ("1000 processes", lambda m: processes(m, 1000)),
]


@pytest.mark.parametrize("change", [c for _, c in ACCEPTED], ids=[name for name, _ in ACCEPTED])
def test_accepted(message: run_pb2.Run, change: Change, read: Callable[..., Any]) -> None:
    """What the contract allows is accepted and written as it came."""
    change(message)
    assert writing.run_to_wire(read(message)) == message


def containers(message: run_pb2.Run, count: int) -> None:
    """Give the run so many containers."""
    del message.payload.containers[:]
    for number in range(count):
        message.payload.containers.add(name=f"c{number}")


def processes(message: run_pb2.Run, count: int) -> None:
    """Give the run so many top processes."""
    entry = message.payload.top_cpu_processes[0]
    del message.payload.top_cpu_processes[1:]
    message.payload.top_cpu_processes.extend([entry] * (count - 1))


def put(path: str, value: Any) -> Change:
    """Return a change that sets one field, given below the run."""

    def change(message: run_pb2.Run) -> None:
        holder: Any = message
        *parts, last = path.split(".")
        for part in parts:
            name, _, index = part.partition("[")
            holder = getattr(holder, name)
            holder = holder[int(index[:-1])] if index else holder
        setattr(holder, last, value)

    return change


NUMBERS = [
    "payload.duration_seconds",
    "payload.cpu_total_percent.peak",
    "payload.mem_used_percent.avg",
    "payload.containers[0].cpu_cores.p95",
    "payload.containers[0].cpu_seconds",
    "payload.containers[0].cpu_throttled_seconds",
    "payload.containers[0].limits.cpu_cores",
    "payload.top_cpu_processes[0].peak_cpu_percent",
    "payload.top_mem_processes[1].cpu_seconds",
    "payload.coverage.interval_seconds",
    "payload.coverage.self_cpu_seconds",
    "next_push_within_seconds",
]
COUNTS = [
    "payload.sample_count",
    "payload.mem_used_bytes.p50",
    "payload.containers[0].sample_count",
    "payload.containers[0].memory_bytes.peak",
    "payload.containers[0].memory_anon_bytes.p99",
    "payload.containers[0].memory_cgroup_bytes.p95",
    "payload.containers[0].memory_working_set_bytes.p75",
    "payload.containers[0].memory_peak_bytes",
    "payload.containers[0].oom_kills",
    "payload.containers[0].limits.memory_bytes",
    "payload.top_cpu_processes[0].peak_mem_bytes",
    "payload.host.memory_total_bytes",
    "payload.coverage.missed_samples",
    "payload.coverage.vanished",
    "payload.coverage.denied",
    "payload.coverage.self_peak_rss_bytes",
    "revision",
    "run_attempt",
    "exit_code",
    "payload.host.cpu_count",
    "payload.top_cpu_processes[0].pid",
]
SINGLE: list[tuple[str, Any]] = [
    *[(path, value) for path in NUMBERS for value in (NAN, INF, -INF, -0.5)],
    *[(path, -1) for path in COUNTS],
    ("push_id", ""),
    ("push_id", "0C8F5B1E-3D52-4C8E-9A57-6F1F0D2B7A44"),
    ("push_id", "0c8f5b1e3d524c8e9a576f1f0d2b7a44"),
    ("state", 0),
    ("state", 4),
    ("revision", 0),
    ("run_id", "x" * 256),
    ("run_id", "a\0b"),
    ("run_attempt", 0),
    ("runner_name", ""),
    ("runner_name", "ä" * 128),
    ("exit_code", 256),
    ("collector_version", "1" * 64),
    ("next_push_within_seconds", 0.0),
    ("next_push_within_seconds", 86400.5),
    ("payload.cpu_total_percent.peak", 101.5),
    ("payload.mem_used_percent.p50", 1e300),
    ("payload.containers[0].name", ""),
    ("payload.containers[0].name", "x" * 1025),
    ("payload.containers[0].name", "a\x1b[31m"),
    ("payload.containers[1].name", "runner"),
    ("payload.containers[0].limits.cpu_cores", 0.0),
    ("payload.containers[0].limits.memory_bytes", 0),
    ("payload.top_cpu_processes[0].pid", 0),
    ("payload.top_cpu_processes[0].name", "x" * 256),
    ("payload.top_cpu_processes[0].name", "a\nb"),
    ("payload.top_cpu_processes[0].container", ""),
    ("payload.host.cpu_count", 0),
    ("payload.host.kernel", "k" * 256),
    ("payload.host.cgroup_version", 3),
    ("payload.host.cgroup_version", 0),
]


@pytest.mark.parametrize(("path", "value"), SINGLE)
def test_one_bad_field(
    message: run_pb2.Run, path: str, value: Any, read: Callable[..., Any]
) -> None:
    """A bad field is refused under its own path, and nothing else is."""
    put(path, value)(message)
    assert fields_of(lambda: read(message)) == [f"run.{path}"]


STRUCTURAL: list[tuple[str, Change, list[str]]] = [
    ("no payload", lambda m: m.ClearField("payload"), [S]),
    ("no start", lambda m: m.payload.ClearField("start_time"), [f"{S}.start_time"]),
    ("no end", lambda m: m.payload.ClearField("end_time"), [f"{S}.end_time"]),
    ("year 0", put("payload.start_time.seconds", -62135596801), [f"{S}.start_time"]),
    ("year 10000", put("payload.end_time.seconds", 253402300800), [f"{S}.end_time"]),
    ("nanos", put("payload.end_time.nanos", 10**9), [f"{S}.end_time"]),
    ("negative nanos", put("payload.end_time.nanos", -1), [f"{S}.end_time"]),
    ("end before start", put("payload.end_time.seconds", 0), [f"{S}.end_time"]),
    ("4097 containers", lambda m: containers(m, 4097), [f"{S}.containers"]),
    ("1001 processes", lambda m: processes(m, 1001), [f"{S}.top_cpu_processes"]),
    ("33 labels", lambda m: m.labels.update({f"k{n}": "" for n in range(31)}), ["run.labels"]),
    ("long key", lambda m: m.labels.update({"A" * 64: ""}), ["run.labels[0].key"]),
    ("empty key", lambda m: m.labels.update({"": "v"}), ["run.labels[0].key"]),
    ("bad value", lambda m: m.labels.update({"ä": "\0"}), ["run.labels[ä]"]),
    ("p99 above peak", put("payload.containers[0].cpu_cores.p99", 3.0), [f"{C}.cpu_cores"]),
    ("p50 above p75", put("payload.containers[0].cpu_cores.p50", 1.96), [f"{C}.cpu_cores"]),
    ("avg above peak", put("payload.mem_used_bytes.avg", 2**40), [f"{S}.mem_used_bytes"]),
]


@pytest.mark.parametrize(
    ("change", "fields"), [entry[1:] for entry in STRUCTURAL], ids=[e[0] for e in STRUCTURAL]
)
def test_bad_structure(
    message: run_pb2.Run, change: Change, fields: list[str], read: Callable[..., Any]
) -> None:
    """What is missing, too long, or at odds with itself is refused under its path."""
    change(message)
    assert fields_of(lambda: read(message)) == fields


def test_all_violations_are_found_at_once(message: run_pb2.Run, read: Callable[..., Any]) -> None:
    """One answer names every bad field, outer and inner ones."""
    for path, value in (("push_id", "x"), ("revision", 0), ("payload.sample_count", -1)):
        put(path, value)(message)
    put("payload.containers[1].memory_bytes.p95", -4)(message)
    assert fields_of(lambda: read(message)) == [
        "run.push_id",
        "run.revision",
        f"{S}.sample_count",
        f"{S}.containers[1].memory_bytes.p95",
    ]


def test_a_missing_scope_lacks_all_four_names() -> None:
    """Without a scope there is nothing to authorise: all four names are required."""
    found = fields_of(lambda: reading.scope_from_wire(run_pb2.Scope(), "run.scope"))
    assert found == [f"run.scope.{n}" for n in ("organization", "repository", "workflow", "job")]


def arbitrary_run(source: random.Random) -> run_pb2.Run:
    """Return a run message with anything in any field."""
    message = run_pb2.Run()
    _fill(message, source, 0)
    return message


def _fill(message: Any, source: random.Random, depth: int) -> None:
    for field in message.DESCRIPTOR.fields:
        if source.random() < 0.15 or depth > 4:
            continue
        if field.name == "labels":
            message.labels.update({_text(source): _text(source) for _ in range(3)})
        elif field.is_repeated:
            for _ in range(source.choice((0, 1, 3))):
                _fill(getattr(message, field.name).add(), source, depth + 1)
        elif field.message_type is not None:
            getattr(message, field.name).SetInParent()
            _fill(getattr(message, field.name), source, depth + 1)
        else:
            setattr(message, field.name, _scalar(field, source))


def _scalar(field: Any, source: random.Random) -> Any:
    if field.type == field.TYPE_STRING:
        return _text(source)
    if field.type == field.TYPE_DOUBLE:
        return source.choice((0.0, -0.0, 0.5, 1e308, NAN, INF, -INF, -1.0, 5e-324))
    if field.type == field.TYPE_INT64:
        return source.choice((0, 1, 5, -1, 2**63 - 1, -(2**63)))
    return source.choice((0, 1, 2, 3, -1, 99, 2**31 - 1, -(2**31)))


def _text(source: random.Random) -> str:
    return source.choice(("", "a", "ä", "\0", "x" * 300, "a/b", "\u202e", "😀", "../a"))


@given(st.integers(0, 2**64))
def test_any_message_is_a_run_or_violations(seed: int) -> None:
    """Whatever is in a message: it is a valid run that stays itself, or InvalidRequest."""
    message = arbitrary_run(random.Random(seed))
    try:
        scope = reading.scope_from_wire(message.scope, "run.scope")
        run = reading.run_from_wire(message, scope)
    except InvalidRequest:
        return
    _assert_clean(run, message, scope)


@given(seed=st.integers(0, 2**64))
def test_a_good_run_with_anything_in_some_fields(seed: int, golden: Path) -> None:
    """A run with a few bad fields is read, clean, or refused; there is no other result."""
    source = random.Random(seed)
    text = (golden / "stored_run.wire.json").read_text()
    message = json_format.Parse(text, run_service_pb2.StoredRun()).run
    leaves = list(_scalars(message))
    for holder, field in source.sample(leaves, source.choice((0, 1, 2))):
        setattr(holder, field.name, _scalar(field, source))
    try:
        scope = reading.scope_from_wire(message.scope, "run.scope")
        run = reading.run_from_wire(message, scope)
    except InvalidRequest:
        return
    _assert_clean(run, message, scope)


def _scalars(message: Any) -> Iterator[tuple[Any, Any]]:
    for field, value in message.ListFields():
        if field.name == "labels":
            continue
        if field.message_type is None:
            yield message, field
            continue
        for inner in value if field.is_repeated else [value]:
            yield from _scalars(inner)


def _assert_clean(run: Any, message: run_pb2.Run, scope: Any) -> None:
    values = list(_leaves(run))
    assert all(math.isfinite(v) for v in values if isinstance(v, float))
    assert all(math.copysign(1, v) > 0 for v in values if isinstance(v, float))
    payload = writing.run_bytes(run)
    assert reading.run_from_wire(run_pb2.Run.FromString(payload), scope) == run
    message.MergeFromString(b"\xf8\x07\x01")  # field 127, a varint
    assert reading.push_from_wire(message, scope) == (run, payload)


def _leaves(value: Any) -> Any:
    if isinstance(value, tuple):
        for item in value:
            yield from _leaves(item)
    else:
        yield value


def test_query_defaults(message: run_pb2.Run) -> None:
    """Nothing but a scope: the newest 1000, completed and interrupted."""
    wanted = reading.filter_from_wire(run_service_pb2.ListRunsRequest(scope=message.scope))
    assert wanted.limit == 1000
    assert wanted.states == {RunState.COMPLETED, RunState.INTERRUPTED}
    assert wanted[2:6] == (None, None, None, None)


def test_query_bounds_are_whole_milliseconds(message: run_pb2.Run) -> None:
    """A bound between two milliseconds counts from the later one on."""
    request = run_service_pb2.ListRunsRequest(scope=message.scope)
    request.since.CopyFrom(Timestamp(seconds=1, nanos=1_000_001))
    request.until.CopyFrom(Timestamp(seconds=1, nanos=1_000_000))
    wanted = reading.filter_from_wire(request)
    assert (wanted.since_ms, wanted.until_ms) == (1002, 1001)


@pytest.mark.parametrize(
    ("fields", "bad"),
    [
        ({"limit": 0}, ["limit"]),
        ({"limit": 10001}, ["limit"]),
        ({"before_id": 0}, ["before_id"]),
        ({"run_id": "\n"}, ["run_id"]),
        ({"states": [0]}, ["states[0]"]),
        ({"states": [3, 9]}, ["states[1]"]),
        ({"states": [3] * 33}, ["states"]),
        ({"since": Timestamp(nanos=-1)}, ["since"]),
        ({"until": Timestamp(seconds=2**62)}, ["until"]),
        ({"limit": -5, "before_id": -5}, ["limit", "before_id"]),
    ],
)
def test_bad_queries(message: run_pb2.Run, fields: dict[str, Any], bad: list[str]) -> None:
    """Every bad field of a query is named."""
    request = run_service_pb2.ListRunsRequest(scope=message.scope, **fields)
    assert fields_of(lambda: reading.filter_from_wire(request)) == bad


@pytest.mark.parametrize(
    ("seconds", "allowed", "good"),
    [(1, None, True), (0, None, False), (3153600000, None, True), (3153600001, None, False),
     (60, 60, True), (61, 60, False), (-1, 60, False)],
)  # fmt: skip
def test_life_of_a_token(
    message: run_pb2.Run, seconds: int, allowed: int | None, good: bool
) -> None:
    """1 second to a century, or to the maximum of the receiver."""
    request = token_service_pb2.CreatePushTokenRequest(
        scope=message.scope, expires_in_seconds=seconds
    )
    if good:
        assert reading.lifetime_from_wire(request, allowed)[1] == seconds
    else:
        found = fields_of(lambda: reading.lifetime_from_wire(request, allowed))
        assert found == ["expires_in_seconds"]


def test_violations_are_capped(message: run_pb2.Run, read: Callable[..., Any]) -> None:
    """4096 bad containers are 100 violations and a count; the status stays small."""
    containers(message, 4096)
    for container in message.payload.containers:
        container.sample_count = -1
    with pytest.raises(InvalidRequest) as caught:
        read(message)
    assert len(caught.value.violations) == 100
    assert caught.value.omitted_count == 3996
    found = status.status_of(caught.value, 3)
    assert len(found.SerializeToString()) < 4096
    details = error_details_pb2.BadRequest()
    assert found.details[0].Unpack(details)
    listed = len(details.field_violations) - 1
    assert details.field_violations[-1].description == f"and {4096 - listed} more fields are bad"


def test_status_carries_every_violation_and_readable_text() -> None:
    """Few violations are all in the text and in the details."""
    error = InvalidRequest((Violation("run.push_id", "is required"), Violation("ä", "b")))
    found = status.status_of(error, 3)
    assert found.message == "invalid request: run.push_id: is required; \\xe4: b"
    details = error_details_pb2.BadRequest()
    assert found.details[0].Unpack(details)
    assert [(v.field, v.description) for v in details.field_violations] == list(error.violations)


def test_status_says_when_to_retry() -> None:
    """Errors that pass carry RetryInfo, others carry nothing."""
    info = error_details_pb2.RetryInfo()
    assert status.status_of(Busy(), 8).details[0].Unpack(info)
    assert info.retry_delay.ToMilliseconds() == 1000
    assert not status.status_of(MalformedRequest(), 3).details
