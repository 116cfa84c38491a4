"""Records that several folders use."""

from typing import Any, NamedTuple

from runmeter.procfs import CpuTimes

PUSHED, KEPT, REJECTED = PUSHER_CODES = 0, 3, 4  # exit codes


class Scope(NamedTuple):
    """The job that a run belongs to; texts as the CI system gives them, possibly empty."""

    organization: str
    repository: str
    workflow: str
    job: str


class Limit(NamedTuple):
    """What a container may use; None where it is not given."""

    cpu_cores: float | None
    memory_bytes: int | None


class Key(NamedTuple):
    """Identity of a cgroup: ``container_id`` (64 hex digits) or, without one, ``path``."""

    container_id: str
    path: str


class Group(NamedTuple):
    """What is measured as one container; exactly one field is set."""

    key: Key | None = None
    mapped_name: str = ""
    is_command: bool = False


COMMAND_GROUP = Group(is_command=True)
ROOT_KEY = Key("", "/")


class SystemReading(NamedTuple):
    """Counters of the machine, each None if it could not be read; sizes in bytes, now."""

    cpu: CpuTimes | None
    mem_used_bytes: int | None
    mem_total_bytes: int | None

    def cpu_percent_since(self, before: "SystemReading") -> float | None:
        """Return how busy all CPUs were, 0 to 100 %; None if that is not known."""
        if self.cpu is None or before.cpu is None:
            return None
        growth = self.cpu.since(before.cpu)
        return 100.0 * growth.busy / growth.total if growth.total else None


class CgroupFigures(NamedTuple):
    """Exact figures of a group, each None where there is none.

    ``cpu_ns`` and ``throttled_ns``, ``oom_kills``: since the reading before. Sizes: now.
    """

    cpu_ns: int | None
    throttled_ns: int | None
    oom_kills: int | None
    memory_bytes: int | None
    working_set_bytes: int | None
    peak_bytes: int | None


class GroupSample(NamedTuple):
    """One group at one snapshot; sizes are None when it has no living process.

    ``cpu_ns``: CPU time since the snapshot before. ``figures``: from the kernel's counters, None
    where there are none.
    """

    cpu_ns: int
    rss_bytes: int | None
    anon_bytes: int | None
    figures: CgroupFigures | None = None


class Sample(NamedTuple):
    """One snapshot; ``groups`` holds all that have a living process or used CPU time."""

    monotonic_ns: int
    system: SystemReading
    groups: dict[Group, GroupSample]


class Acknowledgement(NamedTuple):
    """The answer of the receiver to a push."""

    id: int
    duplicate: bool


class Outcome(NamedTuple):
    """The result of one waiting run: ``pushed``, ``kept``, ``rejected`` or ``live``.

    ``hint``: what to do about it, if it is known.
    """

    what: str
    push_id: str
    path: str
    run: dict[str, Any] | None
    reason: str
    stored: Acknowledgement | None
    hint: str = ""
