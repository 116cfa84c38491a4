"""/proc/stat."""

from typing import NamedTuple

from runmeter.procfs.fields import readable, signed

FILE = "/proc/stat"
_TIMES_MIN = 4  # user, nice, system, idle: what the oldest kernels write
_GROWTH_MAX = 1 << 40  # ticks; more than any machine makes between two readings


class CpuTimes(NamedTuple):
    """Ticks of all CPUs together since boot. 0 where an old kernel does not write a field.

    Each of them may decrease, most often ``idle``, ``iowait`` and ``steal``: compare two readings
    with ``since()`` only.
    """

    user: int  # guest included
    nice: int  # guest_nice included
    system: int
    idle: int
    iowait: int
    irq: int
    softirq: int
    steal: int  # wanted to run, but the hypervisor ran another machine

    @property
    def total(self) -> int:
        """All ticks."""
        return sum(self)

    @property
    def busy(self) -> int:
        """Total less idle and iowait, ticks."""
        return self.total - self.idle - self.iowait

    def since(self, before: "CpuTimes") -> "CpuTimes":
        """Return the growth of each field; 0 for one that has decreased or wrapped around."""
        growth = (now - then for now, then in zip(self, before, strict=True))
        return CpuTimes(*(ticks if 0 <= ticks < _GROWTH_MAX else 0 for ticks in growth))


class Stat(NamedTuple):
    """CPUs of the machine; what cannot be read is None, each by itself."""

    cpu: CpuTimes | None
    cpu_count: int | None  # CPUs online


def parse_stat(raw: bytes) -> Stat:
    """Parse ``/proc/stat``: one ``key value…`` line per counter, one per CPU; ticks.

    Only the lines of CPUs are read. Other lines may hold anything: some kernels write a negative
    ``processes``.

    Source: proc_stat(5); kernel fs/proc/stat.c, show_stat().
    """
    cpu_count = 0
    cpu = None
    for line in raw.split(b"\n"):
        key, _, value = line.partition(b" ")
        if key == b"cpu":
            cpu = _cpu_times(value)
        elif key.startswith(b"cpu") and key[3:].isdigit():
            cpu_count += 1
    return Stat(cpu, cpu_count or None)


def _cpu_times(value: bytes) -> CpuTimes | None:
    names = CpuTimes._fields
    times = [readable(signed, text) for text in value.lstrip(b" ").split(b" ")[: len(names)]]
    known = [ticks for ticks in times if ticks is not None]
    if len(times) < _TIMES_MIN or len(known) < len(times):
        return None
    return CpuTimes(*known, *(0 for _ in names[len(times) :]))
