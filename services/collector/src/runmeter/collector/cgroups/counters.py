"""Read the open counters of a container's cgroup."""

import errno
import os
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple, TypeVar

from runmeter.collector.cgroups.files import Folder, Refused, close_all, open_file
from runmeter.procfs import (
    ParseError,
    parse_cpuacct_usage,
    parse_events_oom_kill,
    parse_inactive_file,
    parse_memory_current,
    parse_memory_max_usage_in_bytes,
    parse_memory_peak,
    parse_memory_usage_in_bytes,
    parse_oom_control_kills,
    parse_throttled_time,
    parse_throttled_usec,
    parse_total_inactive_file,
    parse_usage_usec,
)

T = TypeVar("T")
_READ_BYTES = 65536
_LEAF_LINKS = 2  # of a folder that contains no folders


class Reading(NamedTuple):
    """Counters of one cgroup, each None where it could not be read.

    Times in nanoseconds and ``oom_kills`` count since the cgroup was made; sizes in bytes.
    """

    cpu_ns: int | None = None
    throttled_ns: int | None = None
    memory_bytes: int | None = None
    working_set_bytes: int | None = None
    peak_bytes: int | None = None
    oom_kills: int | None = None


class Source:
    """Open counters of one cgroup.

    The file of CPU time stays open. ``keep_below``: other files stay open if their descriptor is
    below this number; else they are opened for each reading. ``unreadable``: counts, by file,
    what cannot be read or is not what the kernel writes.
    """

    __slots__ = (
        "_cpu_file",
        "_files",
        "_folders",
        "_has_nested",
        "_is_v2",
        "_keep_below",
        "_unreadable",
        "is_gone",
        "needs_leaf",
        "path",
    )

    def __init__(
        self,
        folders: dict[str, Folder],
        cpu_file: int,
        *,
        is_v2: bool,
        path: str,
        needs_leaf: bool,
        keep_below: int,
        unreadable: Counter[str],
    ) -> None:
        self._folders = folders  # by v1 controller; of v2 under ""
        self._cpu_file = cpu_file
        self._is_v2 = is_v2
        self._files: dict[tuple[str, str], int] = {}
        self._keep_below = keep_below
        self._unreadable = unreadable
        self._has_nested = False  # a cgroup was seen below it
        self.path = path
        self.needs_leaf = needs_leaf  # cgroups below it count as other containers
        self.is_gone = False  # the cgroup has been removed

    def read(self) -> Reading:
        """Read all counters; one that cannot be read is None."""
        if self.needs_leaf and not self._is_leaf():
            return Reading()
        return self._read_v2() if self._is_v2 else self._read_v1()

    def close(self) -> None:
        """Close all descriptors."""
        close_all(self._folders.values())
        for descriptor in (self._cpu_file, *self._files.values()):
            if descriptor >= 0:
                os.close(descriptor)

    def _is_leaf(self) -> bool:
        """Return whether no cgroups are below this one; its counters would include theirs."""
        try:
            links = [os.fstat(folder.descriptor).st_nlink for folder in self._folders.values()]
        except OSError:
            return False
        return all(count == _LEAF_LINKS for count in links)

    def _read_v2(self) -> Reading:
        cpu = self._cpu()
        memory = self._value(parse_memory_current, self._file("", "memory.current"))
        inactive = self._value(parse_inactive_file, self._file("", "memory.stat"))
        return Reading(
            cpu_ns=_times(self._value(parse_usage_usec, cpu), 1000),
            throttled_ns=_times(self._value(parse_throttled_usec, cpu), 1000),
            memory_bytes=memory,
            working_set_bytes=_less(memory, inactive),
            peak_bytes=self._value(parse_memory_peak, self._file("", "memory.peak")),
            oom_kills=self._value(parse_events_oom_kill, self._file("", "memory.events")),
        )

    def _read_v1(self) -> Reading:
        usage = self._file("memory", "memory.usage_in_bytes")
        memory = self._value(parse_memory_usage_in_bytes, usage)
        inactive = self._value(parse_total_inactive_file, self._file("memory", "memory.stat"))
        peak = self._file("memory", "memory.max_usage_in_bytes")
        self._has_nested = self._has_nested or not self._is_leaf()
        # v1 counts an OOM kill only in the cgroup of the process
        control = None if self._has_nested else self._file("memory", "memory.oom_control")
        return Reading(
            cpu_ns=self._value(parse_cpuacct_usage, self._cpu()),
            throttled_ns=self._value(parse_throttled_time, self._file("cpu", "cpu.stat")),
            memory_bytes=memory,
            working_set_bytes=_less(memory, inactive),
            peak_bytes=self._value(parse_memory_max_usage_in_bytes, peak),
            oom_kills=self._value(parse_oom_control_kills, control),
        )

    def _cpu(self) -> bytes | None:
        if self._cpu_file < 0:
            return None
        try:
            return os.pread(self._cpu_file, _READ_BYTES, 0)
        except OSError as error:
            self.is_gone = error.errno == errno.ENODEV
            return None

    def _file(self, folder: str, name: str) -> bytes | None:
        if folder not in self._folders:
            return None
        descriptor = self._files.get((folder, name), -1)
        try:
            if descriptor < 0:
                descriptor = open_file(self._folders[folder], name)
                if descriptor < self._keep_below:
                    self._files[folder, name] = descriptor
            return os.pread(descriptor, _READ_BYTES, 0)
        except FileNotFoundError:  # older kernels have fewer files
            return None
        except (OSError, Refused) as error:
            if isinstance(error, OSError) and error.errno == errno.ENODEV:
                self.is_gone = True
            else:
                self._unreadable[name] += 1
            return None
        finally:
            if descriptor >= self._keep_below:
                os.close(descriptor)

    def _value(self, parse: Callable[[bytes], T], raw: bytes | None) -> T | None:
        if raw is None:
            return None
        try:
            return parse(raw)
        except ParseError as error:
            self._unreadable[error.file] += 1
            return None


def _times(count: int | None, factor: int) -> int | None:
    return None if count is None else count * factor


def _less(whole: int | None, part: int | None) -> int | None:
    return None if whole is None or part is None else max(0, whole - part)
