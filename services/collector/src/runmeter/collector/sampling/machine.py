"""The machine as a whole: ``/proc/stat`` and ``/proc/meminfo``."""

from collections import Counter

from runmeter.collector.model import SystemReading
from runmeter.collector.open_files import keep_below
from runmeter.procfs import KeptFile, ProcfsError, parse_meminfo, parse_stat


class Machine:
    """The two files of a proc mount; they stay open.

    ``unreadable``: counts, by file, what is missing or not what the kernel writes.
    """

    def __init__(self, mount: str, unreadable: Counter[str]) -> None:
        self._stat = KeptFile(f"{mount}/stat", keep_below())
        self._meminfo = KeptFile(f"{mount}/meminfo", keep_below())
        self._unreadable = unreadable

    def read(self) -> SystemReading:
        """Read both; a value that cannot be read is None."""
        memory = parse_meminfo(self._content(self._meminfo))
        cpu = parse_stat(self._content(self._stat)).cpu
        used = total = None
        if cpu is None:
            self._unreadable["/proc/stat: cpu"] += 1
        if memory.total_kb is None:
            self._unreadable["/proc/meminfo: MemTotal"] += 1
        else:
            total = memory.total_kb * 1024
        if memory.available_kb is None:
            self._unreadable["/proc/meminfo: MemAvailable"] += 1
        elif total is not None:
            used = max(0, total - memory.available_kb * 1024)
        return SystemReading(cpu, used, total)

    @staticmethod
    def _content(file: KeptFile) -> bytes:
        try:
            return file.read()
        except ProcfsError:
            return b""
