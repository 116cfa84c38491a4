"""The machine as a whole: ``/proc/stat`` and ``/proc/meminfo``."""

from runmeter.collector.model import SystemReading
from runmeter.collector.open_files import keep_below
from runmeter.procfs import KeptFile, ProcfsError, parse_meminfo, parse_stat


class Machine:
    """The two files of a proc mount; they stay open."""

    def __init__(self, mount: str) -> None:
        self._stat = KeptFile(f"{mount}/stat", keep_below())
        self._meminfo = KeptFile(f"{mount}/meminfo", keep_below())

    def read(self) -> SystemReading:
        """Read both; a value that cannot be read is None."""
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
