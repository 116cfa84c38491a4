"""Whether the proc mount leaves processes of other users out (``hidepid``)."""

import os

from runmeter.collector.processes.clock import clock_id, read_process_clock
from runmeter.procfs import ProcFS, ProcfsError

_CAP_SYS_PTRACE_BIT = 19
_OF_GROUP = ("2", "invisible")  # whoever is in the group of the mount sees all
_OF_NOBODY = ("4", "ptraceable")


def hides_processes(proc: ProcFS, own_pid: int) -> bool:
    """Tell whether a mount of our own pid namespace leaves processes out; False if unknown.

    There is always a pid 1, and clocks of processes ask for no privilege: where pid 1 belongs to
    another user it is in sight or not. Where it is our own user's the mount's options tell.

    Source: proc(5); kernel fs/proc/base.c, has_pid_permissions().
    """
    try:
        read_process_clock(clock_id(1))
    except OSError:
        return False
    try:
        owner = os.stat(f"{proc.mount}/1").st_uid
    except OSError:
        return True
    return owner == os.geteuid() and _is_told_to_hide(proc, own_pid)


def _is_told_to_hide(proc: ProcFS, own_pid: int) -> bool:
    try:
        capabilities = proc.proc_status(own_pid).cap_eff or 0
        options = _options(proc, own_pid)
    except ProcfsError:
        return False
    hidden = options.get("hidepid", "0")
    if capabilities >> _CAP_SYS_PTRACE_BIT & 1 or hidden not in (*_OF_GROUP, *_OF_NOBODY):
        return False
    sees_all = int(options.get("gid", "0")) in (os.getegid(), *os.getgroups())
    return hidden in _OF_NOBODY or not sees_all


def _options(proc: ProcFS, own_pid: int) -> dict[str, str]:
    """Return the options of the proc file system by name: of what was mounted there last."""
    mount_point = os.path.realpath(proc.mount)
    found = ""
    for mount in proc.proc_mountinfo(own_pid):
        if mount.mount_point == mount_point and mount.fs_type == "proc":
            found = mount.super_options
    return {name: value for name, _, value in (o.partition("=") for o in found.split(","))}
