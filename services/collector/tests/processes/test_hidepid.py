"""Whether a mount hides processes: pid namespaces whose pid 1 belongs to the collector's user."""

import subprocess
import sys

import pytest
from rig.namespaces import needs_unshare

pytestmark = needs_unshare("setpriv", "mount")
NOBODY = "65534"
UNSHARE = ("unshare", "--pid", "--fork", "--kill-child", "--mount", "--propagation", "private")
# the program is pid 1 itself
FIRST = f"""
mount -t proc -o "$1" proc /proc || exit 77
exec setpriv --clear-groups $3 {sys.executable} -I -c "$4" "$2"
"""
# becomes the user after all imports: only root may be able to read the interpreter's folder.
# Who changes users is not dumpable any more, and /proc would show it as root's
ASK = """
import ctypes, os, sys
from runmeter.collector.processes.hidepid import hides_processes
from runmeter.procfs import ProcFS
PR_SET_DUMPABLE = 4
uid = int(sys.argv[1])
if uid:
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    assert ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) == 0
assert os.stat("/proc/1").st_uid == uid
print(hides_processes(ProcFS("/proc", 4096, 100), 1))
"""


@pytest.mark.parametrize(
    ("options", "uid", "also", "hides"),
    [
        ("hidepid=0", NOBODY, "", False),
        ("hidepid=1", NOBODY, "", False),
        ("hidepid=2", NOBODY, "", True),
        ("hidepid=ptraceable", NOBODY, "", True),
        (f"hidepid=2,gid={NOBODY}", NOBODY, "", False),
        (f"hidepid=ptraceable,gid={NOBODY}", NOBODY, "", True),
        ("hidepid=ptraceable", "0", "", False),
        ("hidepid=ptraceable", "0", "--bounding-set=-sys_ptrace", True),
        ("hidepid=2", "0", "--bounding-set=-sys_ptrace", False),
    ],
)
def test_pid_1_of_our_own(options: str, uid: str, also: str, hides: bool) -> None:
    """A visible pid 1 says nothing about other processes; the options of the mount do."""
    command = (*UNSHARE, "sh", "-c", FIRST, "sh", options, uid, also, ASK)
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == f"{hides}\n"
