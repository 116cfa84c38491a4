"""The figures of one container, or other group, during a run."""

from runmeter.collector.model import CgroupFigures
from runmeter.collector.summary.series import Series, SeriesSet

_EXACT_SHARE = 100  # so small a share (1/100) may come from the ledger


class GroupRecord:
    """The figures of one group."""

    __slots__ = (
        "anon",
        "cgroup",
        "cores",
        "cpu_ns",
        "exact_ns",
        "is_exact",
        "oom_kills",
        "peak_bytes",
        "rss",
        "snapshot_count",
        "throttled_ns",
        "working_set",
    )

    def __init__(self, series: SeriesSet) -> None:
        self.cpu_ns = 0
        self.exact_ns = 0  # the part of it from the kernel's counter
        self.is_exact = False  # the counter was read over at least one interval
        self.snapshot_count = 0
        self.throttled_ns: int | None = None
        self.oom_kills: int | None = None
        self.peak_bytes: int | None = None
        self.cgroup = series.new()
        self.working_set = series.new()
        self.cores = series.new()
        self.rss = series.new()
        self.anon = series.new()

    @property
    def _all_series(self) -> tuple[Series, ...]:
        return (self.cores, self.rss, self.anon, self.cgroup, self.working_set)

    def merge(self, other: "GroupRecord") -> bool:
        """Add the figures of another cgroup of the same container; False: not possible.

        It needs every value with its tick; a run that is too long to keep them does not merge.
        """
        if not all(series.can_merge for series in (*self._all_series, *other._all_series)):
            return False
        for mine, theirs in zip(self._all_series, other._all_series, strict=True):
            mine.merge(theirs)
        self.cpu_ns += other.cpu_ns
        self.exact_ns += other.exact_ns
        self.is_exact = self.is_exact or other.is_exact
        self.snapshot_count = self.rss.count
        for name in ("throttled_ns", "oom_kills", "peak_bytes"):
            values = [v for v in (getattr(self, name), getattr(other, name)) if v is not None]
            setattr(self, name, sum(values) if values else None)
        return True

    def count(self, figures: CgroupFigures) -> None:
        """Add the growth of counters in an interval."""
        if figures.cpu_ns is not None:
            self.is_exact = True
            self.exact_ns += figures.cpu_ns
        if figures.throttled_ns is not None:
            self.throttled_ns = (self.throttled_ns or 0) + figures.throttled_ns
        if figures.oom_kills is not None:
            self.oom_kills = (self.oom_kills or 0) + figures.oom_kills
        if figures.peak_bytes is not None:
            self.peak_bytes = max(self.peak_bytes or 0, figures.peak_bytes)

    @property
    def cpu_is_exact(self) -> bool:
        """Return whether all CPU time, except a container's last moments, is from the counter."""
        rest_ns = self.cpu_ns - self.exact_ns
        return self.is_exact and rest_ns * _EXACT_SHARE <= self.cpu_ns
