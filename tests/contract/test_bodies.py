"""Bodies that break one rule of the contract each: the answer names the field."""

import copy
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from rig.problem import problem
from rig.stack import Scope, Stack, a_record, golden_record

STATISTICS = ("peak", "p99", "p95", "p75", "p50", "avg")
LARGEST = 2**63 - 1
MISSING = object()
CONTAINER, PROCESS = "payload.containers[0]", "payload.top_cpu_processes[0]"


def full_record(scope: Scope) -> dict[str, Any]:
    """Return the golden record under another scope, as it is pushed."""
    record = golden_record() | scope._asdict()
    return {k: v for k, v in record.items() if k not in ("id", "received_at", "updated_at")}


def changed(record: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """Return a copy with another value at a path, ``payload.containers[0].name``."""
    copied = copy.deepcopy(record)
    steps = [
        int(step) if step.isdigit() else step
        for step in path.replace("[", ".").replace("]", "").split(".")
    ]
    inner: Any = copied
    for step in steps[:-1]:
        inner = inner[step]
    if value is MISSING:
        del inner[steps[-1]]
    else:
        inner[steps[-1]] = value
    return copied


def value_at(record: dict[str, Any], path: str) -> Any:
    """Return the value at a path."""
    inner: Any = record
    for step in path.replace("[", ".").replace("]", "").split("."):
        inner = inner[int(step) if step.isdigit() else step]
    return inner


def paths_of(value: Any, kinds: tuple[type, ...], path: str = "") -> Iterator[str]:
    """Return the path of every value of these types."""
    items: Iterator[tuple[Any, Any]] = iter(())
    if isinstance(value, dict):
        items = iter((f"{path}.{k}".lstrip("."), v) for k, v in value.items())
    elif isinstance(value, list):
        items = iter((f"{path}[{i}]", v) for i, v in enumerate(value))
    for inner_path, inner in items:
        if type(inner) in kinds:
            yield inner_path
        yield from paths_of(inner, kinds, inner_path)


PUSHED = full_record(Scope("o", "o/r", "w", "j"))
NUMBERS = sorted(paths_of(PUSHED, (int, float)))
WHOLE = sorted(paths_of(PUSHED, (int,)))
TEXTS = sorted(paths_of(PUSHED, (str,)))

# path → a value just outside of what the contract allows; the field named is the path itself
OUTSIDE: list[tuple[str, Any]] = [
    ("organization", ""),
    ("organization", "a//b"),
    ("organization", "/a"),
    ("repository", "a/"),
    ("repository", "r" * 256),
    ("workflow", "."),
    ("workflow", "a/../b"),
    ("job", "..\u0000"),
    ("job", "\u007f"),
    ("job", "\u0085"),
    ("job", "\u00e9" * 128),
    ("push_id", ""),
    ("push_id", "0C8F5B1E-3D52-4C8E-9A57-6F1F0D2B7A44"),
    ("push_id", "0c8f5b1e3d524c8e9a576f1f0d2b7a44"),
    ("push_id", "{0c8f5b1e-3d52-4c8e-9a57-6f1f0d2b7a44}"),
    ("state", "unspecified"),
    ("state", "COMPLETED"),
    ("revision", 0),
    ("run_id", MISSING),
    ("run_id", None),
    ("run_id", "x" * 256),
    ("run_id", "a\tb"),
    ("run_attempt", 0),
    ("run_attempt", 2**31),
    ("runner_name", ""),
    ("runner_name", "x" * 256),
    ("exit_code", -1),
    ("exit_code", 256),
    ("collector_version", "x" * 64),
    ("next_push_within_seconds", 0),
    ("next_push_within_seconds", 86400.001),
    ("payload", MISSING),
    ("payload.start_time", MISSING),
    ("payload.end_time", MISSING),
    ("payload.start_time", "2026-02-06T14:30:02.185"),
    ("payload.start_time", "2026-02-30T14:30:02.185Z"),
    ("payload.start_time", 1770388202),
    ("payload.end_time", "2026-02-06T14:30:02.184Z"),
    ("payload.duration_seconds", MISSING),
    ("payload.sample_count", MISSING),
    ("payload.cpu_total_percent.peak", 102.0),
    ("payload.mem_used_percent.peak", 102.0),
    (f"{CONTAINER}.name", ""),
    (f"{CONTAINER}.name", "x" * 1025),
    (f"{CONTAINER}.name", "a\u001bb"),
    (f"{CONTAINER}.name", MISSING),
    (f"{CONTAINER}.cpu_source", "guess"),
    (f"{CONTAINER}.limits.cpu_cores", 0),
    (f"{CONTAINER}.limits.memory_bytes", 0),
    ("payload.containers[1].name", "runner"),
    (f"{PROCESS}.pid", 0),
    (f"{PROCESS}.pid", MISSING),
    (f"{PROCESS}.name", "x" * 256),
    (f"{PROCESS}.name", "a\nb"),
    (f"{PROCESS}.container", ""),
    (f"{PROCESS}.container", "x" * 1025),
    ("payload.host.cpu_count", 0),
    ("payload.host.kernel", "x" * 256),
    ("payload.host.cgroup_version", 0),
    ("payload.host.cgroup_version", 3),
    ("payload.host.clock_source", "sundial"),
    ("payload.coverage.interval_seconds", MISSING),
    ("payload.percentile_method", "guess"),
]
# what the contract allows at the edge of its ranges
INSIDE: list[tuple[str, Any]] = [
    ("organization", "\u00e9" * 60),
    ("workflow", "/"),
    ("job", "j" * 255),
    ("run_id", ""),
    ("run_id", "x" * 255),
    ("run_attempt", 2**31 - 1),
    ("revision", LARGEST),
    ("exit_code", 255),
    ("labels", {f"k{i}".ljust(63, "x"): "v" * 255 for i in range(32)}),
    ("labels", {"k": ""}),
    ("next_push_within_seconds", 86400),
    ("payload.end_time", "2026-02-06T14:30:02.185Z"),
    ("payload.start_time", "2026-02-06T15:30:02.1859999+01:00"),
    ("payload.sample_count", 0),
    ("payload.duration_seconds", 1.7976931348623157e308),
    ("payload.mem_used_bytes", dict.fromkeys(STATISTICS, LARGEST)),
    (f"{CONTAINER}.name", "x" * 1024),
    (f"{CONTAINER}.oom_kills", LARGEST),
    (f"{PROCESS}.name", ""),
    ("payload.containers", []),
    ("payload.host", None),
    ("payload.unknown", {"a": [1]}),
]


def refused(stack: Stack, scope: Scope, path: str, value: Any) -> dict[str, str]:
    """Push the golden record with one bad value; return the reasons by field."""
    record = changed(full_record(scope), path, value)
    return problem(stack.post(record, stack.token(scope)), 400)


def described(value: Any) -> str:
    """Return a short test id."""
    return "missing" if value is MISSING else ascii(value)[:24]


@pytest.fixture(scope="module")
def place(stack: Stack) -> Iterator[Scope]:
    """A scope into which nothing gets, whatever is tried."""
    scope = Scope("bodies", "bodies/repo", "ci.yml", "build")
    before = stack.row_counts()
    yield scope
    assert stack.listed(scope, state="all") == []
    assert stack.rest.get("/health").status_code == 200
    assert before["run"] >= 0


@pytest.mark.parametrize(("path", "value"), OUTSIDE, ids=described)
def test_outside_of_its_range(stack: Stack, place: Scope, path: str, value: Any) -> None:
    """A value just outside of the range is refused under the name the JSON has for it."""
    if path in Scope._fields:  # no token of another scope fits: names are checked before it
        record = changed(full_record(place), path, value)
        assert problem(stack.post(record, stack.token(place)), 400).keys() >= {path}
    else:
        assert refused(stack, place, path, value).keys() == {path}


@pytest.mark.parametrize(("path", "value"), INSIDE, ids=described)
def test_inside_of_its_range(stack: Stack, scope: Scope, path: str, value: Any) -> None:
    """A value at the edge of the range is taken."""
    if path in Scope._fields:
        repository = f"{value}/repo" if path == "organization" else scope.repository
        scope = scope._replace(**{"repository": repository, path: value})
    record = changed(full_record(scope), path, value)
    answer = stack.post(record, stack.token(scope))
    assert answer.status_code == 201, answer.text
    assert len(stack.listed(scope)) == 1


@pytest.mark.parametrize("path", WHOLE)
def test_whole_numbers(stack: Stack, place: Scope, path: str) -> None:
    """A whole number is no fraction, no text, and at most 2^63-1; statistics may be fractions."""
    fraction = -0.5 if path.rpartition(".")[2] in STATISTICS else 1.5
    for value in (fraction, "1", True, LARGEST + 1, -LARGEST - 2, 1e300):
        assert refused(stack, place, path, value).keys() == {path}, value


def test_whole_floats_are_integers(stack: Stack, scope: Scope) -> None:
    """With a point or an exponent, whole numbers are stored and answered as the same integers."""
    record = full_record(scope)
    floats = record
    for path in WHOLE:
        floats = changed(floats, path, float(value_at(record, path)))
    assert stack.post(floats, stack.token(scope)).status_code == 201
    (answered,) = stack.listed(scope)
    both = [json.dumps(one, sort_keys=True) for one in (answered | record, answered)]
    assert both[0] == both[1]


def test_fractions_of_bytes_are_rounded(stack: Stack, scope: Scope) -> None:
    """Statistics of bytes are rounded to the nearest byte, halves to the even one."""
    names = ("peak", "p99", "p95", "p75", "p50", "avg")
    given = dict(zip(names, (8.51, 8.5, 7.5, 6.49, 0.5, 7.0), strict=True))
    record = changed(full_record(scope), "payload.mem_used_bytes", given)
    assert stack.post(record, stack.token(scope)).status_code == 201
    (answered,) = stack.listed(scope)
    stored = dict(zip(names, (9, 8, 8, 6, 0, 7), strict=True))
    assert json.dumps(answered["payload"]["mem_used_bytes"]) == json.dumps(stored)


@pytest.mark.parametrize("path", sorted(set(NUMBERS) - set(WHOLE)))
def test_numbers(stack: Stack, place: Scope, path: str) -> None:
    """A number is no text and no boolean."""
    for value in ("1", False, [], {}):
        assert refused(stack, place, path, value).keys() == {path}, value


@pytest.mark.parametrize("path", TEXTS)
def test_texts(stack: Stack, place: Scope, path: str) -> None:
    """A text is no number and holds no NUL."""
    named = re.sub(r"labels\.(\w+)", r"labels[\1]", path)
    for value in (1, True, ["a"], {"a": "b"}):
        assert refused(stack, place, path, value).keys() == {named}, value
    fields = refused(stack, place, path, "a\x00b")
    if path.startswith("labels."):
        assert fields.keys() == {named}
    elif path == "organization":  # the repository's full path holds it as well
        assert fields.keys() == {"organization", "repository"}
    else:
        assert fields.keys() == {path}


@pytest.mark.parametrize(
    "labels",
    [
        {f"k{i}": "v" for i in range(33)},
        {"": "v"},
        {"k" * 64: "v"},
        {"k": "v" * 256},
        {"k\n": "v"},
        {"k": "\u009f"},
    ],
    ids=["33", "empty key", "long key", "long value", "key", "value"],
)
def test_labels(stack: Stack, place: Scope, labels: dict[str, str]) -> None:
    """Labels are at most 32, keys 1 to 63 bytes, values to 255, without control characters."""
    fields = refused(stack, place, "labels", labels)
    assert len(fields) == 1
    assert all(field.startswith("labels") for field in fields)


@pytest.mark.parametrize("name", STATISTICS)
def test_statistics_are_whole(stack: Stack, place: Scope, name: str) -> None:
    """All six figures belong together."""
    for path in (f"payload.mem_used_bytes.{name}", f"{CONTAINER}.cpu_cores.{name}"):
        assert refused(stack, place, path, MISSING).keys() == {path}


def test_a_million_containers(stack: Stack, place: Scope) -> None:
    """A list far too long is refused, small as its entries are; so is one that fits the body."""
    token = stack.token(place)
    record = changed(a_record(place), "payload.containers", [{"name": "c"}] * 10**6)
    problem(stack.post(record, token), 413)
    fitting = [{"name": f"{number:x}"} for number in range(40_000)]
    record = changed(a_record(place), "payload.containers", fitting)
    fields = problem(stack.post(record, token), 400)
    assert fields.keys() == {"payload.containers"}


def test_many_bad_fields(stack: Stack, place: Scope) -> None:
    """Thousands of bad fields get an answer of bounded size, and at least the first of them."""
    many = [{"name": f"{number:x}", "oom_kills": -1} for number in range(4000)]
    record = changed(a_record(place), "payload.containers", many)
    answer = stack.post(record, stack.token(place))
    fields = problem(answer, 400)
    assert "payload.containers[0].oom_kills" in fields
    assert len(answer.content) < 64 * 1024


def test_wrong_types_of_everything(stack: Stack, place: Scope) -> None:
    """Objects, arrays and null where something else belongs are named."""
    token = stack.token(place)
    for path, value in (
        ("payload", []),
        ("payload", "text"),
        ("payload", None),
        ("payload.containers", {}),
        ("payload.containers[0]", None),
        ("payload.top_mem_processes", "none"),
        ("payload.mem_used_bytes", 5),
        ("labels", ["a"]),
        ("labels.os", 1),
    ):
        answer = stack.post(changed(full_record(place), path, value), token)
        (field,) = problem(answer, 400)
        assert field.replace("[os]", ".os") == path
