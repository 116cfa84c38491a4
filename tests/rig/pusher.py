"""The collector's pusher as a program of its own."""

import os
import subprocess
import sys
from time import monotonic_ns
from typing import Any


def start_pusher(
    token: str,
    *flags: str,
    program: tuple[str, str] = ("-m", "runmeter.collector.push"),
    deadline_seconds: float = 20.0,
    **settings: Any,
) -> subprocess.Popen[str]:
    """Start it with a budget for the push, and the token where nobody sees it."""
    descriptor = os.memfd_create("token", 0)
    os.write(descriptor, token.encode())
    os.lseek(descriptor, 0, os.SEEK_SET)
    command = [
        sys.executable, "-I", *program, f"--token-fd={descriptor}",
        f"--deadline-ns={monotonic_ns() + round(deadline_seconds * 1e9)}", *flags,
    ]  # fmt: skip
    fds = (descriptor, *settings.pop("pass_fds", ()))
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, pass_fds=fds,
        **settings,
    )  # fmt: skip
    os.close(descriptor)
    return process
