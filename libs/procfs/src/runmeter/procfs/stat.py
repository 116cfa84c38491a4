"""/proc/stat."""

from typing import NamedTuple

from runmeter.procfs.errors import ParseError
from runmeter.procfs.fields import unsigned

FILE = "/proc/stat"
_TIMES_MIN = 4  # user, nice, system, idle: what the oldest kernels write


class CpuTimes(NamedTuple):
    """Ticks of all CPUs together since boot. 0 where an old kernel does not write a field.

    ``idle`` and ``iowait`` may decrease a little between two readings.
    """

    user: int  # guest included
    nice: int  # guest_nice included
    system: int
    idle: int
    iowait: int
    irq: int
    softirq: int
    steal: int  # wanted to run, but the hypervisor ran another machine
    guest: int
    guest_nice: int

    @property
    def total(self) -> int:
        """All ticks, guest time counted once."""
        return sum(self[:8])

    @property
    def busy(self) -> int:
        """Total less idle and iowait, ticks."""
        return self.total - self.idle - self.iowait


class Stat(NamedTuple):
    """The machine since boot."""

    cpu: CpuTimes
    cpu_count: int  # CPUs online; 0 if the file does not list them
    ctxt: int  # context switches
    btime: int  # boot time, unix seconds
    processes: int  # processes and threads created


def parse_stat(raw: bytes) -> Stat:
    """Parse ``/proc/stat``: one ``key value…`` line per counter, one per CPU; ticks.

    Raises:
        ParseError: a line that every kernel writes is missing or malformed.

    Source: proc_stat(5); kernel fs/proc/stat.c, show_stat().
    """
    cpu_count = 0
    lines: dict[bytes, bytes] = {}
    for line in raw.split(b"\n"):
        key, _, value = line.partition(b" ")
        if key.startswith(b"cpu") and key[3:].isdigit():
            cpu_count += 1
        else:
            lines[key] = value
    return Stat(
        _cpu_times(_line(lines, b"cpu")),
        cpu_count,
        unsigned(_line(lines, b"ctxt"), FILE, "ctxt"),
        unsigned(_line(lines, b"btime"), FILE, "btime"),
        unsigned(_line(lines, b"processes"), FILE, "processes"),
    )


def _line(lines: dict[bytes, bytes], key: bytes) -> bytes:
    if key not in lines:
        raise ParseError(FILE, f"{key.decode()} is missing")
    return lines[key]


def _cpu_times(value: bytes) -> CpuTimes:
    names = CpuTimes._fields
    texts = value.lstrip(b" ").split(b" ")[: len(names)]
    if len(texts) < _TIMES_MIN:
        raise ParseError(FILE, "cpu has less than four fields")
    times = [unsigned(text, FILE, name) for name, text in zip(names, texts, strict=False)]
    return CpuTimes(*times, *(0 for _ in names[len(times) :]))
