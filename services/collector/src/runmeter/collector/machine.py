"""The machine as a whole: ``/proc/stat`` and ``/proc/meminfo``."""

from typing import NamedTuple

from runmeter.collector.descriptors import keep_below
from runmeter.procfs import KeptFile, ProcfsError, parse_meminfo, parse_stat


class SystemReading(NamedTuple):
    """Counters of the machine, each None if it could not be read.

    ``busy_ticks`` and ``total_ticks`` count from boot; sizes in bytes, now.
    """

    busy_ticks: int | None
    total_ticks: int | None
    mem_used_bytes: int | None
    mem_total_bytes: int | None


class Machine:
    """The two files of one proc mount, which stay open."""

    def __init__(self, mount: str) -> None:
        self._stat = KeptFile(f"{mount}/stat", keep_below())
        self._meminfo = KeptFile(f"{mount}/meminfo", keep_below())

    def read(self) -> SystemReading:
        """Read both; what cannot be read is None."""
        busy = total = used = mem_total = None
        try:
            cpu = parse_stat(self._stat.read()).cpu
            busy, total = cpu.busy, cpu.total
        except ProcfsError:
            pass
        try:
            memory = parse_meminfo(self._meminfo.read())
            mem_total = memory.total_kb * 1024
            if memory.available_kb is not None:
                used = max(0, memory.total_kb - memory.available_kb) * 1024
        except ProcfsError:
            pass
        return SystemReading(busy, total, used, mem_total)
