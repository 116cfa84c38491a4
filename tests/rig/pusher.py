"""The collector's pusher as a program of its own."""

import json
import os
import subprocess
import sys
from time import monotonic_ns
from typing import Any

from rig.forks import Fork


def start_pusher(
    token: str,
    *,
    program: tuple[str, ...] = ("pusher",),
    deadline_seconds: float = 20.0,
    pass_fds: tuple[int, ...] = (),
    **order: Any,
) -> subprocess.Popen[str]:
    """Start it with an order: to push one run, unless it says otherwise.

    It is forked, or a ``program`` of Python is started, such as ``-m runmeter.collector.push``.
    """
    descriptor = os.memfd_create("token", 0)
    os.write(descriptor, token.encode())
    os.lseek(descriptor, 0, os.SEEK_SET)
    deadline_ns = monotonic_ns() + round(deadline_seconds * 1e9)
    order = {"task": "run", "token_fd": descriptor, "deadline_ns": deadline_ns, **order}
    is_forked = program == ("pusher",)
    start = Fork if is_forked else subprocess.Popen
    process = start(
        [*(() if is_forked else (sys.executable, "-I")), *program, json.dumps(order)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        pass_fds=(descriptor, *pass_fds),
    )
    os.close(descriptor)
    return process
