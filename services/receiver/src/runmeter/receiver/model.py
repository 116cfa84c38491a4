"""Records of the receiver that are not messages of the contract, and the order of pushes.

Times are whole milliseconds since 1970, UTC; None is an absent value.
"""

import enum
from collections.abc import Callable
from typing import NamedTuple

from runmeter.v1 import run_pb2


class RunState(enum.IntEnum):
    """The state of a run; the numbers are those of the contract."""

    RUNNING = 1
    INTERRUPTED = 2
    COMPLETED = 3


class Scope(NamedTuple):
    """One job of one workflow of one repository, in canonical names."""

    organization: str
    repository: str
    workflow: str
    job: str


class PushRank(NamedTuple):
    """The order of pushes of one run: the later push has the greater rank."""

    completed: bool
    revision: int
    state: int


class Verdict(enum.Enum):
    """How a push relates to the stored run."""

    REPLACES = "replaces"
    REPEATS = "repeats"
    CONFLICTS = "conflicts"


class PushKey(NamedTuple):
    """Identity of a run: a push_id counts within its scope."""

    scope: Scope
    push_id: str


def push_rank(state: int, revision: int) -> PushRank:
    """Return the rank of a push among the pushes of its run."""
    return PushRank(state == RunState.COMPLETED, revision, state)


def compare_pushes(stored: PushRank, pushed: PushRank, same: Callable[[], bool]) -> Verdict:
    """Compare a push with the one stored under its key.

    ``same`` returns whether both have the same content; it is called only for equal ranks.
    """
    if pushed > stored:
        return Verdict.REPLACES
    if pushed < stored or same():
        return Verdict.REPEATS
    return Verdict.CONFLICTS


def is_same_run(payload: bytes, run: run_pb2.Run) -> bool:
    """Return whether a stored payload equals a run; unknown fields do not count."""
    stored = run_pb2.Run.FromString(payload)
    stored.DiscardUnknownFields()
    return stored == run


class Push(NamedTuple):
    """A validated run to store, and its bytes as they are stored.

    ``first_arrived_at_ms`` is the first arrival of a run that is imported from another database.
    """

    scope: Scope
    run: run_pb2.Run
    payload: bytes
    arrived_at_ms: int
    first_arrived_at_ms: int | None = None

    @property
    def received_at_ms(self) -> int:
        """Return the first arrival of a run that is not stored yet."""
        first = self.first_arrived_at_ms
        return self.arrived_at_ms if first is None else first

    @property
    def key(self) -> PushKey:
        """Return which run this is."""
        return PushKey(self.scope, self.run.push_id)


def stored_push(scope: Scope, payload: bytes, received_at_ms: int, updated_at_ms: int) -> Push:
    """Return a stored run as the push that it was."""
    return Push(scope, run_pb2.Run.FromString(payload), payload, updated_at_ms, received_at_ms)


class Rename(NamedTuple):
    """A repository that has another name now; both are full paths, as in `Scope.repository`."""

    source: str
    target: str

    def organizations(self) -> list[tuple[str, str]]:
        """Return each organization that runs of the repository may have, and the new one.

        It keeps its number of parts, if the new path is as long.
        """
        old, new = self.source.split("/"), self.target.split("/")
        return [
            ("/".join(old[:count]), "/".join(new[: min(count, len(new) - 1)]))
            for count in range(1, len(old))
        ]

    def apply(self, push: Push) -> Push:
        """Return a run under its new name; a run of another repository as it is."""
        scope = push.scope
        if scope.repository != self.source:
            return push
        organization = dict(self.organizations())[scope.organization]
        run = push.run
        run.scope.organization, run.scope.repository = organization, self.target
        return push._replace(
            scope=scope._replace(organization=organization, repository=self.target),
            payload=run.SerializeToString(deterministic=True),
        )


class Receipt(NamedTuple):
    """The result of a push: a new run, a duplicate, or a replacement of an earlier push."""

    id: int
    duplicate: bool
    replaced: bool = False


class RunFilter(NamedTuple):
    """The runs of a scope to list, newest first."""

    scope: Scope
    limit: int
    before_id: int | None
    since_ms: int | None
    until_ms: int | None
    run_id: str | None
    states: frozenset[RunState]


class ListedRun(NamedTuple):
    """A stored run without its payload, in its current state."""

    id: int
    revision: int
    state: RunState
    received_at_ms: int
    updated_at_ms: int
    payload_size_bytes: int


class StoredRun(NamedTuple):
    """A stored run, its payload the protobuf of the run as it was pushed."""

    id: int
    state: RunState
    received_at_ms: int
    updated_at_ms: int
    payload: bytes


class ArchivedRun(NamedTuple):
    """A run as it is stored, column by column, for another database."""

    id: int
    received_at_ms: int
    updated_at_ms: int
    organization: str
    repository: str
    workflow: str
    job: str
    push_id: str
    run_id: str
    state: int
    revision: int
    payload: bytes


def silent_after_ms(run: run_pb2.Run, arrived_at_ms: int) -> int | None:
    """Return when a RUNNING run without another push becomes INTERRUPTED; None: never."""
    if run.state != run_pb2.RUN_STATE_RUNNING or not run.HasField("next_push_within_seconds"):
        return None
    return arrived_at_ms + round(3000 * run.next_push_within_seconds)


def reads_as(state: int, silent_after: int | None, now_ms: int) -> RunState:
    """Return the current state of a stored run."""
    if state == RunState.RUNNING and silent_after is not None and silent_after < now_ms:
        return RunState.INTERRUPTED
    return RunState(state)


class GroupFilter(NamedTuple):
    """The groups to list: repositories (``within`` is empty), or the jobs of a repository.

    ``within`` and ``after`` are names in the order of a scope.
    """

    within: tuple[()] | tuple[str, str]
    limit: int
    after: tuple[str, str] | None


class RunGroup(NamedTuple):
    """The runs of one repository or job, counted; the last one has the highest id."""

    names: tuple[str, str]
    run_count: int
    last_id: int
    last_received_at_ms: int
    last_state: RunState


class GroupPage(NamedTuple):
    """Some repositories or jobs; the next page, if any, begins after ``next_after``."""

    groups: list[RunGroup]
    next_after: tuple[str, str] | None
