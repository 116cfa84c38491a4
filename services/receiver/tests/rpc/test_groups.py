"""Repositories and jobs that have runs, counted: the real program on SQLite and PostgreSQL."""

import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rig.receiver import READ_TOKEN, copied, refusal, violations

from runmeter.receiver.model import GroupFilter, GroupPage, RunGroup, RunState
from runmeter.receiver.store.groups import statement_of
from runmeter.receiver.wire import writing
from runmeter.receiver.wire.cursors import CURSOR_MAX_LENGTH, cursor_of, names_of
from runmeter.receiver.wire.reading import LIMIT_MAX
from runmeter.v1 import run_pb2, run_service_pb2

Code = grpc.StatusCode
Names = tuple[str, ...]
# (organization, full repository, workflow, job): names that begin alike, hold slashes, sort by byte
SCOPES = [
    ("a", "a/b/c", "w", "j"),
    ("a/b", "a/b/c", "w", "j"),
    ("a", "a/b", "w", "j"),
    ("a", "a/b", "w", "j2"),
    ("a", "a/b", "w2", "j"),
    ("a", "a/b", "w/x", "j/y"),
    ("A", "A/b", "w", "j"),
    ("ab", "ab/b", "w", "%_'\""),
    ("名前", "名前/ö", "w", "j"),
]


@pytest.fixture
def serving(start_receiver: Callable[..., Any], kept: Any) -> Any:
    """A receiver on a database of each kind."""
    return start_receiver(f"--db={kept.where}", "--migrate")


@pytest.fixture
def push(serving: Any, message: run_pb2.Run) -> Callable[..., int]:
    """Push a run of a scope, the golden one with some fields changed; return its id."""

    def push_run(scope: Names, **changes: Any) -> int:
        run = copied(message, push_id=str(uuid.uuid4()))
        run.ClearField("next_push_within_seconds")
        names = zip(run.scope.DESCRIPTOR.fields_by_name, scope, strict=True)
        run.scope.CopyFrom(run_pb2.Scope(**dict(names)))
        for name, value in changes.items():
            setattr(run, name, value)
        return int(serving.push(run).id)

    return push_run


def repositories(serving: Any, **fields: Any) -> run_service_pb2.ListRepositoriesResponse:
    """Ask for one page of repositories."""
    request = run_service_pb2.ListRepositoriesRequest(**fields)
    metadata = serving.bearer(READ_TOKEN)
    return serving.runs.ListRepositories(request, metadata=metadata, timeout=30)


def jobs(serving: Any, *names: str, **fields: Any) -> run_service_pb2.ListJobsResponse:
    """Ask for one page of the jobs of a repository."""
    request = run_service_pb2.ListJobsRequest(organization=names[0], repository=names[1], **fields)
    return serving.runs.ListJobs(request, metadata=serving.bearer(READ_TOKEN), timeout=30)


def walk(ask: Callable[..., Any], limit: int) -> Iterator[Any]:
    """Yield all pages, each of at most `limit` entries."""
    fields = {"limit": limit}
    while True:
        page = ask(**fields)
        yield page
        if not page.HasField("next_after"):
            return
        assert page.next_after != fields.get("after")
        fields["after"] = page.next_after


def by_bytes(names: Names) -> tuple[bytes, ...]:
    """Return what both databases of the tests sort by."""
    return tuple(name.encode() for name in names)


def test_all_runs_are_counted(serving: Any, kept: Any, push: Callable[..., int]) -> None:
    """Every repository and job once, sorted, with its number of runs; whatever the page size."""
    pushed = [scope for number, scope in enumerate(SCOPES) for _ in range(number % 3 + 1)]
    for scope in pushed:
        push(scope)
    assert kept.column("SELECT COUNT(*) FROM run") == [str(len(pushed))]
    owned = Counter(scope[:2] for scope in pushed)
    for limit in (1, 2, len(owned) - 1, len(owned), 10000):
        pages = list(walk(lambda **fields: repositories(serving, **fields), limit))
        assert [len(page.repositories) for page in pages[:-1]] == [limit] * (len(pages) - 1)
        found = [one for page in pages for one in page.repositories]
        names = [(one.organization, one.repository) for one in found]
        assert names == sorted(owned, key=by_bytes)
        assert [one.run_count for one in found] == [owned[name] for name in names]
    for within in owned:
        counted = Counter(scope[2:] for scope in pushed if scope[:2] == within)
        for limit in (1, 1000):
            pages = list(walk(lambda **f: jobs(serving, *within, **f), limit))  # noqa: B023
            found = [one for page in pages for one in page.jobs]
            names = [(one.workflow, one.job) for one in found]
            assert names == sorted(counted, key=by_bytes)
            assert [one.run_count for one in found] == [counted[name] for name in names]


def test_the_last_run(serving: Any, push: Callable[..., int]) -> None:
    """It is the newest by first arrival, of any state, in its current state."""
    scope = SCOPES[2]
    first_push_id = str(uuid.uuid4())
    running = run_pb2.RUN_STATE_RUNNING
    first = push(scope, push_id=first_push_id, state=running, revision=1)
    (one,) = jobs(serving, *scope[:2]).jobs
    assert (one.run_count, one.last_run.id, one.last_run.state) == (1, first, running)
    second = push(scope, state=running, revision=1, next_push_within_seconds=0.001)
    push(scope, push_id=first_push_id, state=run_pb2.RUN_STATE_COMPLETED, revision=2)
    metadata = serving.bearer(READ_TOKEN)
    scoped = run_pb2.Scope(**dict(zip(run_pb2.Scope.DESCRIPTOR.fields_by_name, scope, strict=True)))
    # it is interrupted after some milliseconds: ask until the listing says so
    request = run_service_pb2.ListRunsRequest(scope=scoped, states=[running])
    while len(list(serving.runs.ListRuns(request, metadata=metadata, timeout=30))) > 1:
        pass
    newest = serving.stored(scoped)[0]
    (one,) = jobs(serving, *scope[:2]).jobs
    assert one.run_count == 2
    assert one.last_run.id == newest.id == second
    assert one.last_run.received_at == newest.received_at
    assert one.last_run.state == run_pb2.RUN_STATE_INTERRUPTED
    (repository,) = repositories(serving).repositories
    assert repository.last_run == one.last_run


def test_both_forms_of_a_repository_have_the_same_jobs(
    serving: Any, push: Callable[..., int]
) -> None:
    """The name may have its organization in front; an unknown repository has no jobs."""
    push(("my-org", "my-repo", "w", "j"))
    (repository,) = repositories(serving).repositories
    assert repository.repository == "my-org/my-repo"
    assert len(jobs(serving, "my-org", "my-repo").jobs) == 1
    assert jobs(serving, "my-org", "my-repo") == jobs(serving, "my-org", "my-org/my-repo")
    assert jobs(serving, "my-org", "other") == run_service_pb2.ListJobsResponse()
    assert serving.end() == 0
    calls = [e for e in serving.events() if e.get("method", "").endswith("ListJobs")]
    assert {call["repository"] for call in calls} == {"my-org/my-repo", "my-org/other"}
    assert [call["job_count"] for call in calls] == [1, 1, 1, 0]


def test_counting_reads_an_index_only(serving: Any, kept: Any) -> None:
    """No page sorts all runs, or reads more of the table than the last run of each entry."""
    for wanted in (
        GroupFilter((), 1000, None),
        GroupFilter((), 1000, ("o", "o/r")),
        GroupFilter(("o", "o/r"), 1000, None),
        GroupFilter(("o", "o/r"), 1000, ("w", "j")),
    ):
        statement, values = statement_of(wanted)
        plan = kept.plan(statement.format(*(f"'{value}'" for value in values)))
        assert "Index Only Scan using run_scope" in plan or "COVERING INDEX run_scope" in plan
        assert "FOR GROUP BY" not in plan


def test_the_largest_page_fits_into_a_message() -> None:
    """10000 entries with the longest names stay below the 8 MiB that channels take."""
    most = 2**63 - 1
    group = RunGroup(("n" * 255, "m" * 255), most, most, 253402300799999, RunState.RUNNING)
    page = GroupPage([group] * LIMIT_MAX, group.names)
    for answer in (writing.repositories_to_wire(page), writing.jobs_to_wire(page)):
        assert 5 * 2**20 < answer.ByteSize() < 8 * 2**20


# -- requests -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "after",
    ["", "x", "o", cursor_of(("o", "r")) + "A", "b25l", "bwByAHc", "_w", "é", "A" * 5000],
)
def test_bad_requests(receiver: Any, after: str) -> None:
    """Names, limit and cursor are checked together; what is no cursor of ours is refused."""
    error = refusal(lambda: repositories(receiver, limit=0, after=after))
    assert error.code() is Code.INVALID_ARGUMENT
    assert list(violations(error)) == ["limit", "after"]
    found = violations(refusal(lambda: jobs(receiver, "", "..", limit=10001, after=after)))
    assert list(found) == ["organization", "repository", "limit", "after"]


@given(st.text(max_size=255), st.text(max_size=255))
def test_any_names_make_a_cursor(one: str, two: str) -> None:
    """The cursor of any two names (without NUL) reads back as these names."""
    names = (one.replace("\0", ""), two.replace("\0", ""))
    cursor = cursor_of(names)
    assert names_of(cursor) == names
    assert set(cursor) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


def test_the_longest_cursor_is_taken() -> None:
    """Two names of 255 bytes fit."""
    assert len(cursor_of(("x" * 255, "y" * 255))) <= CURSOR_MAX_LENGTH


@given(st.text(max_size=60))
def test_any_text_is_a_cursor_or_refused(text: str) -> None:
    """Any text reads as two names, or raises ValueError."""
    try:
        one, two = names_of(text)
    except ValueError:
        return
    assert "\0" not in one + two


# -- what a call is named -----------------------------------------------------------------


def test_the_lines_of_a_call_have_its_request_id(receiver: Any, message: run_pb2.Run) -> None:
    """A valid x-request-id is in every line of its call and no other; an invalid one in none."""
    sent: list[tuple[str, ...]] = [
        ("id-1",),
        ("A.b_c-9" * 9,),
        (),
        ("",),
        ("a b",),
        ("x" * 65,),
        ("a", "b"),
        ('","level":"error',),
    ]
    for ids in sent:
        metadata = [*receiver.bearer("x"), *(("x-request-id", value) for value in ids)]
        request = run_service_pb2.ListRepositoriesRequest()
        with pytest.raises(grpc.RpcError):
            receiver.runs.ListRepositories(request, metadata=metadata, timeout=30)
    assert receiver.end() == 0
    calls = [e for e in receiver.events() if e["event"] == "rpc.finished"]
    assert [call.get("request_id") for call in calls] == ["id-1", "A.b_c-9" * 9, *[None] * 6]
    others = [e for e in receiver.events() if e["event"] != "rpc.finished"]
    assert not [e for e in others if "request_id" in e]


def test_a_warning_within_a_call_has_its_request_id(start_receiver: Callable[..., Any]) -> None:
    """Lines that are logged during a call have its id, too."""
    receiver = start_receiver("--max-auth-failures=1")
    for number in range(2):
        metadata = [*receiver.bearer("x"), ("x-request-id", f"id-{number}")]
        with pytest.raises(grpc.RpcError):
            receiver.runs.ListRepositories(
                run_service_pb2.ListRepositoriesRequest(), metadata=metadata, timeout=30
            )
    assert receiver.wait_for("caller.limited")["request_id"] == "id-1"
