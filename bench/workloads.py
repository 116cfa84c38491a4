"""Workloads whose CPU time is hard to see from samples: programs of about ``SECONDS`` seconds."""

import sys
from pathlib import Path
from typing import NamedTuple


class Workload(NamedTuple):
    """A command; ``waits``: whether a process of the tree waits for every child."""

    name: str
    argv: tuple[str, ...]
    waits: bool = True


_LOOP = 'end=$(($(date +%s) + {seconds})); while [ "$(date +%s)" -lt "$end" ]; do {body}; done'
_MAKEFILE = """
all: $(shell seq 1 {count})
%: ; @echo "int f$@(int a) {{ return a * $@; }}" | cc -O2 -c -x c -o /dev/null -
"""
_DAEMONS = """
import os, time
end = time.monotonic() + {seconds} - 1.5
while time.monotonic() < end:
    pid = os.fork()
    if pid == 0:
        if os.fork() == 0:
            stop = time.process_time() + 0.15
            while time.process_time() < stop:
                pass
        os._exit(0)
    os.waitpid(pid, 0)
    time.sleep(0.12)
time.sleep(1.5)  # all daemons have ended before this does
"""
_IGNORES = """
import os, signal, time
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
end = time.monotonic() + {seconds}
while time.monotonic() < end:
    if os.fork() == 0:
        stop = time.process_time() + 0.3
        while time.process_time() < stop:
            pass
        os._exit(0)
    time.sleep(0.25)
time.sleep(1.0)
"""
_TESTS = """
import os, time
def case():
    if os.fork() == 0:
        stop = time.process_time() + 0.02
        while time.process_time() < stop:
            pass
        os._exit(0)
    os.wait()
end = time.monotonic() + {seconds}
workers = []
for _ in range(2):
    pid = os.fork()
    if pid == 0:
        while time.monotonic() < end:
            case()
        os._exit(0)
    workers.append(pid)
for pid in workers:
    os.waitpid(pid, 0)
"""
_THREADS = """
import hashlib, threading, time
block = bytes(1 << 16)
end = time.monotonic() + {seconds}
def work():
    while time.monotonic() < end:
        hashlib.sha256(block).digest()
for _ in range(4):
    while time.monotonic() < end:
        started = [threading.Thread(target=work) for _ in range(8)]
        for thread in started:
            thread.start()
        for thread in started:
            thread.join()
"""
_MIXED = """
for i in 1 2 3; do echo "line $i" | sed s/line/x/ | grep -c x; done
printf 'int main(void){{return 0;}}' | cc -x c -o /dev/null - && {python} -S -c 'sum(range(300000))'
tar cf - /usr/include/linux 2>/dev/null | gzip -1 | wc -c
"""


def workloads(folder: Path, seconds: int) -> list[Workload]:
    """Return all of them; what they need lies in a folder."""
    makefile = folder / "accuracy.mk"
    makefile.write_text(_MAKEFILE.format(count=100000))
    timed = f"timeout --signal=INT --kill-after=5 {seconds} make --silent -j4 --file={makefile} all"
    python = sys.executable

    def shell(name: str, body: str) -> Workload:
        return Workload(name, ("sh", "-c", _LOOP.format(seconds=seconds, body=body)))

    def script(name: str, text: str, waits: bool = True) -> Workload:
        return Workload(name, (python, "-S", "-c", text.format(seconds=seconds)), waits)

    nested = 'sh -c \'sh -c "sh -c \\"sh -c true; true\\"; true"; true\''
    pipeline = "seq 1 40 | xargs -P 4 -I@ sh -c 'echo @ | sed s/1/2/ | sort | cat >/dev/null'"
    mixed = _MIXED.format(python=python).strip().replace("\n", "; ")
    return [
        Workload("`make -j4`, small files", ("sh", "-c", f"{timed} 2>/dev/null; true")),
        shell("loop of `python -c pass`", f"{python} -S -c pass"),
        shell("loop of `/bin/true`", "/bin/true"),
        shell("mixed CI script", f"{{ {mixed}; }} >/dev/null 2>&1"),
        script("double-fork daemons", _DAEMONS),
        shell("`xargs -P` of pipelines", pipeline),
        script("test runner that forks", _TESTS),
        script("many threads", _THREADS),
        shell("deep trees of shells", nested),
        script("parent ignores SIGCHLD", _IGNORES, waits=False),
    ]
