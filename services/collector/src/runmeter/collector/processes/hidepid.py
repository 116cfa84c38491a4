"""Find out whether the proc mount hides processes of other users (``hidepid``)."""

import os

from runmeter.collector.processes.clock import clock_id, read_process_clock
from runmeter.procfs import ProcFS, ProcfsError

_CAP_SYS_PTRACE_BIT = 19
_EXCEPT_GROUP = ("2", "invisible")  # members of the mount's group see all
_FROM_ALL = ("4", "ptraceable")


def hides_processes(proc: ProcFS, own_pid: int) -> bool:
    """Return whether a mount of our own pid namespace hides processes; False if unknown.

    Pid 1 always exists, and its clock can be read without privilege. If it belongs to another user,
    the mount shows it or not. If it belongs to our user, the mount's options decide.

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
    return owner == os.geteuid() and _has_hiding_options(proc, own_pid)


def _has_hiding_options(proc: ProcFS, own_pid: int) -> bool:
    try:
        capabilities = proc.proc_status(own_pid).cap_eff or 0
        options = _options(proc, own_pid)
    except ProcfsError:
        return False
    hidden = options.get("hidepid", "0")
    if capabilities >> _CAP_SYS_PTRACE_BIT & 1 or hidden not in (*_EXCEPT_GROUP, *_FROM_ALL):
        return False
    sees_all = int(options.get("gid", "0")) in (os.getegid(), *os.getgroups())
    return hidden in _FROM_ALL or not sees_all


def _options(proc: ProcFS, own_pid: int) -> dict[str, str]:
    """Return the options of the last proc file system that was mounted there, by name."""
    mount_point = os.path.realpath(proc.mount)
    found = ""
    for mount in proc.proc_mountinfo(own_pid):
        if mount.mount_point == mount_point and mount.fs_type == "proc":
            found = mount.super_options
    return {name: value for name, _, value in (o.partition("=") for o in found.split(","))}
