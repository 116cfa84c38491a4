"""/proc/<pid>/cgroup."""

from functools import lru_cache
from typing import NamedTuple

from runmeter.procfs.errors import ParseError
from runmeter.procfs.fields import each_line, unsigned
from runmeter.procfs.names import decode_name

FILE = "/proc/<pid>/cgroup"
_DELETED = b" (deleted)"


class ControlGroup(NamedTuple):
    """The cgroup of one process in one hierarchy."""

    hierarchy_id: int  # 0 is cgroup v2
    controllers: tuple[str, ...]  # empty for v2; ``name=systemd`` for a named v1 hierarchy
    path: str  # below the reader's cgroup root, starts with ``/``; ``/../x``: outside of it
    deleted: bool = False  # v2 only: the cgroup was removed while the process is a zombie


@lru_cache(maxsize=256)
def parse_proc_cgroup(raw: bytes) -> tuple[ControlGroup, ...]:
    """Parse ``/proc/<pid>/cgroup``: one ``id:controllers:path`` line per hierarchy.

    In the kernel's order (v2 last), empty if no hierarchy is mounted. A path may hold colons
    and any byte but a newline; it is decoded like a process name, so a path with bytes that
    are not UTF-8 no longer names a folder. An exiting process reads as ``/`` in v1.

    The kernel marks a removed v2 cgroup by `` (deleted)`` after the path: this is removed and
    kept as ``deleted``. A live cgroup whose name ends with it looks the same.

    Raises:
        ParseError: no line has this form. A malformed line among good ones is left out.

    Source: cgroups(7), proc_pid_cgroup(5); kernel kernel/cgroup/cgroup.c, proc_cgroup_show().
    """
    return each_line(raw, _control_group)


def _control_group(line: bytes) -> ControlGroup:
    hierarchy, _, rest = line.partition(b":")
    controllers, colon, path = rest.partition(b":")
    if not colon or not path.startswith(b"/"):
        raise ParseError(FILE, "a line is not id:controllers:path")
    hierarchy_id = unsigned(hierarchy, FILE, "the hierarchy id")
    deleted = hierarchy_id == 0 and path.endswith(_DELETED)
    return ControlGroup(
        hierarchy_id,
        tuple(map(decode_name, controllers.split(b","))) if controllers else (),
        decode_name(path.removesuffix(_DELETED) if deleted else path),
        deleted,
    )
