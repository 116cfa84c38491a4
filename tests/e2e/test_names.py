"""Hostile process names: every byte the kernel takes, stored and readable."""

import sys
from pathlib import Path

from rig.programs import Stage
from rig.shape import check_record
from rig.stack import Scope, Stack

COMM_BYTES = 15
NAMES = [bytes(range(first, min(first + COMM_BYTES, 256))) for first in range(1, 256, COMM_BYTES)]
# starts one process per name, each holding a little memory, until a file is there
START = """
import os, signal, sys, time
end, *texts = sys.argv[1:]
names = [bytes.fromhex(text) for text in texts]
children = []
for name in names:
    ready, told = os.pipe()
    child = os.fork()
    if not child:
        held = bytearray(8 << 20)
        with open("/proc/self/comm", "wb", buffering=0) as comm:
            comm.write(name)
        os.write(told, b"x")
        signal.alarm(120)  # if the test fails
        signal.pause()
    os.read(ready, 1)
    children.append(child)
print("started", flush=True)
while not os.path.exists(end):
    time.sleep(0.01)
for child, name in zip(children, names, strict=True):
    seen = open(f"/proc/{child}/comm", "rb").read()
    assert seen == name + b"\\n", (seen, name)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
"""


def shown(raw: bytes) -> str:
    """Return how a name reads: UTF-8, all else and control characters as backslash escapes."""
    text = raw.decode("utf-8", "backslashreplace")
    return "".join(f"\\x{ord(c):02x}" if ord(c) < 32 or 127 <= ord(c) < 160 else c for c in text)


def test_names_of_every_byte(stack: Stack, scope: Scope, tmp_path: Path) -> None:
    """Processes whose names together hold every byte are stored and read by REST, escaped."""
    assert set(b"".join(NAMES)) == set(range(1, 256))
    stage = Stage(tmp_path)
    token = stage.keep(stack.token(scope))
    end = tmp_path / "end"
    try:
        collector = stage.start(
            *("collector", "--interval=100ms", "--top=1000", "--log-level=debug"),
            *(f"--push-endpoint={stack.gateway.url}/api/v1/metrics", "--"),
            *(sys.executable, "-c", START, end, *(name.hex() for name in NAMES)),
            environment={
                "GITHUB_REPOSITORY": scope.repository,
                "GITHUB_WORKFLOW": scope.workflow,
                "GITHUB_JOB": scope.job,
                "COLLECTOR_PUSH_TOKEN": token,
            },
        )
        collector.line("started")
        seen = len(collector.events("sample.taken"))
        collector.event("sample.taken", count=seen + 2)  # the first may have begun before
        end.touch()
        assert collector.wait() == 0, collector.text
    finally:
        stage.close()
    assert stage.leaks() == []
    (record,) = stack.listed(scope)
    check_record(record)  # no name holds a control character
    named = {process["name"] for process in record["payload"]["top_mem_processes"]}
    assert {shown(name) for name in NAMES} <= named
