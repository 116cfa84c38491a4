"""What the receiver works with: validated, immutable, without protobuf.

Field by field the contract in ``runmeter/v1/run.proto``; names end in their unit, None is
what the contract calls absent. Times are whole milliseconds since 1970, UTC. Nothing here is
negative (but times before 1970), NaN or infinite: `wire` sees to that.
"""

import enum
import hashlib
import json
from typing import NamedTuple


class RunState(enum.IntEnum):
    """How far a run has come; the numbers are those of the contract."""

    RUNNING = 1
    INTERRUPTED = 2
    COMPLETED = 3


class Scope(NamedTuple):
    """One job of one workflow of one repository, in canonical names."""

    organization: str
    repository: str
    workflow: str
    job: str


class RateStatistics(NamedTuple):
    """Statistics of a rate or share."""

    peak: float
    p99: float
    p95: float
    p75: float
    p50: float
    avg: float


class ByteStatistics(NamedTuple):
    """Statistics of a size in bytes."""

    peak: int
    p99: int
    p95: int
    p75: int
    p50: int
    avg: int


class Limits(NamedTuple):
    """What a container may use, as the person who runs the job says."""

    cpu_cores: float | None
    memory_bytes: int | None


class Container(NamedTuple):
    """One container of the pod."""

    name: str
    sample_count: int | None
    cpu_cores: RateStatistics | None
    cpu_seconds: float | None
    cpu_source: int
    limits: Limits | None
    memory_bytes: ByteStatistics | None
    memory_anon_bytes: ByteStatistics | None
    memory_cgroup_bytes: ByteStatistics | None
    memory_working_set_bytes: ByteStatistics | None
    memory_peak_bytes: int | None
    oom_kills: int | None
    cpu_throttled_seconds: float | None


class Process(NamedTuple):
    """One entry of a top list."""

    pid: int
    name: str
    container: str
    peak_cpu_percent: float | None
    cpu_seconds: float | None
    peak_mem_bytes: int | None


class Host(NamedTuple):
    """The machine a run was measured on."""

    cpu_count: int | None
    memory_total_bytes: int | None
    kernel: str
    cgroup_version: int | None
    clock_source: int


class Coverage(NamedTuple):
    """What the measuring could see, and what it cost."""

    interval_seconds: float
    missed_samples: int
    vanished: int
    denied: int
    self_cpu_seconds: float | None
    self_peak_rss_bytes: int | None


class Summary(NamedTuple):
    """Statistics of a run."""

    start_time_ms: int
    end_time_ms: int
    duration_seconds: float
    sample_count: int
    cpu_total_percent: RateStatistics | None
    mem_used_bytes: ByteStatistics | None
    mem_used_percent: RateStatistics | None
    containers: tuple[Container, ...]
    top_cpu_processes: tuple[Process, ...]
    top_mem_processes: tuple[Process, ...]
    host: Host | None
    coverage: Coverage | None
    percentile_method: int


class Run(NamedTuple):
    """One lifetime of a collector, as pushed. `labels` are sorted by key."""

    scope: Scope
    push_id: str
    state: RunState
    revision: int
    run_id: str
    run_attempt: int | None
    runner_name: str | None
    labels: tuple[tuple[str, str], ...]
    exit_code: int | None
    collector_version: str
    next_push_within_seconds: float | None
    payload: Summary


class PushRank(NamedTuple):
    """Which of two pushes of one run is the later one: compared field by field."""

    completed: bool
    revision: int
    state: int


class Verdict(enum.Enum):
    """What a push does to what is stored."""

    REPLACES = "replaces"
    REPEATS = "repeats"
    CONFLICTS = "conflicts"


class PushKey(NamedTuple):
    """Identity of a run: a push_id counts within its scope."""

    scope: Scope
    push_id: str


def push_rank(state: int, revision: int) -> PushRank:
    """Return the place of a push in the order of all pushes of its run."""
    return PushRank(state == RunState.COMPLETED, revision, state)


def weigh(stored: PushRank, stored_digest: bytes, pushed: PushRank, digest: bytes) -> Verdict:
    """Decide what a push does to what is stored under its key."""
    if pushed > stored:
        return Verdict.REPLACES
    if pushed < stored or digest == stored_digest:
        return Verdict.REPEATS
    return Verdict.CONFLICTS


def content_digest(run: Run) -> bytes:
    """Return the SHA-256 of a run's content, 32 bytes: equal content, equal digest.

    Every value stands at its place in the classes above, an absent one as null. Arrival times
    and fields the receiver does not know are not part of it. Digests are stored: a field that is
    added to a class has to leave the text as it is while the field is absent.
    """
    text = json.dumps(run, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode("ascii")).digest()


class Push(NamedTuple):
    """A run on its way into the store, with what is stored beside it.

    `first_arrived_at_ms` is when the run came first, if that was not this push: one that comes
    from another database.
    """

    run: Run
    digest: bytes
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
        return PushKey(self.run.scope, self.run.push_id)


class Receipt(NamedTuple):
    """What became of a push: stored anew, a duplicate, or in place of an earlier one."""

    id: int
    duplicate: bool
    replaced: bool = False


class RunFilter(NamedTuple):
    """Which runs of a scope a query asks for, newest first."""

    scope: Scope
    limit: int
    before_id: int | None
    since_ms: int | None
    until_ms: int | None
    run_id: str | None
    states: frozenset[RunState]


class ListedRun(NamedTuple):
    """A stored run without its payload, in the state it reads as."""

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


def silent_after_ms(run: Run, arrived_at_ms: int) -> int | None:
    """Return until when a RUNNING run reads as such without a further push; None: for ever."""
    if run.state != RunState.RUNNING or run.next_push_within_seconds is None:
        return None
    return arrived_at_ms + round(3000 * run.next_push_within_seconds)


def reads_as(state: int, silent_after: int | None, now_ms: int) -> RunState:
    """Return the state a stored run reads as."""
    if state == RunState.RUNNING and silent_after is not None and silent_after < now_ms:
        return RunState.INTERRUPTED
    return RunState(state)


class GroupFilter(NamedTuple):
    """What to list: repositories (`within` is empty), or the jobs within a repository.

    `within` and `after` are names in the order of a scope.
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
    """Some repositories or jobs; what follows them, if anything does, comes after `next_after`."""

    groups: list[RunGroup]
    next_after: tuple[str, str] | None
