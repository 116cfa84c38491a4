"""runmeter.collector.hidepid, in pid namespaces whose first process is the collector's user's."""

import os
import shutil
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not all(map(shutil.which, ("unshare", "setpriv", "mount"))),
    reason="needs root, unshare, setpriv and mount",
)
UNSHARE = ("unshare", "--pid", "--fork", "--kill-child", "--mount", "--propagation", "private")
# the program is pid 1 itself
FIRST = f"""
mount -t proc -o "$1" proc /proc || exit 77
exec setpriv --reuid=$2 --regid=$2 --clear-groups $3 {sys.executable} -I -c "$4"
"""
ASK = """
from runmeter.collector.hidepid import hides_processes
from runmeter.procfs import ProcFS
print(hides_processes(ProcFS("/proc", 4096, 100), 1))
"""


@pytest.mark.parametrize(
    ("options", "uid", "also", "hides"),
    [
        ("hidepid=ptraceable", "0", "", False),
        ("hidepid=ptraceable", "0", "--bounding-set=-sys_ptrace", True),
        ("hidepid=2", "0", "--bounding-set=-sys_ptrace", False),
    ],
)
def test_pid_1_of_our_own(options: str, uid: str, also: str, hides: bool) -> None:
    """Pid 1 is in sight and says nothing of others: the options of the mount do."""
    command = (*UNSHARE, "sh", "-c", FIRST, "sh", options, uid, also, ASK)
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == f"{hides}\n"
