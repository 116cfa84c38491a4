"""The command line of the pusher, which takes over a run that is in the spool or in memory.

The token passes through a descriptor, never through an argument.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from time import monotonic_ns

from runmeter.collector import program
from runmeter.collector.config.settings import Config, SpoolConfig
from runmeter.collector.spool.folder import MEMORY

_TLS = ("tls_ca", "tls_cert", "tls_key", "tls_server_name")


def become_pusher(
    config: Config,
    path: str,
    *,
    lock_fd: int | None = None,
    received_count: int = 0,
) -> None:
    """Replace this process by the pusher of a run that has ended, and of the spool's leftovers.

    ``lock_fd``: the run's lock, handed on. ``received_count``: ending signals taken already.

    Raises:
        OSError: the program cannot be run, or its descriptors cannot be made.
    """
    arguments = [*_arguments(config, path), f"--signals={received_count}"]
    if lock_fd is not None:
        os.set_inheritable(lock_fd, True)
        arguments.append(f"--lock-fd={lock_fd}")
    if config.spool_dir:
        arguments.append(f"--spool-dir={config.spool_dir}")
    os.execv(sys.executable, arguments)


def become_live_pusher(config: Config, path: str) -> None:
    """Replace this process by the pusher of a run that goes on.

    Raises:
        OSError: the program cannot be run, or its descriptors cannot be made.
    """
    os.execv(sys.executable, [*_arguments(config, path), "--live"])


def become_emptying_pusher(config: SpoolConfig, *, rejected: bool, as_json: bool) -> None:
    """Replace this process by the pusher of everything that waits.

    Raises:
        OSError: the program cannot be run, or its descriptors cannot be made.
    """
    arguments = [*_destination(config), "--all"]
    arguments += [f"--spool-dir={config.spool_dir}", f"--timeout-ns={config.timeout_ns}"]
    arguments += ["--signals=1"]  # the first one ends it
    os.execv(sys.executable, arguments + ["--rejected"] * rejected + ["--json"] * as_json)


def _arguments(config: Config, path: str) -> list[str]:
    deadline_ns = monotonic_ns() + config.shutdown_timeout_ns
    return [*_destination(config), f"--file={path}", f"--deadline-ns={deadline_ns}"]


def _destination(config: Config | SpoolConfig) -> list[str]:
    """Return the start of every command line: the program, where to push, how to log."""
    assert config.endpoint is not None
    arguments = [*program.pusher(), f"--endpoint={config.endpoint.url}"]
    arguments += [f"--log-format={config.log_format}", f"--log-level={config.log_level}"]
    arguments += [f"--token-fd={_in_memory(config.push_token.encode())}"]
    for name in _TLS:
        if getattr(config, name):
            arguments.append(f"--{name.replace('_', '-')}={getattr(config, name)}")
    return arguments


def memory_path(content: bytes) -> str:
    """Put a run into memory; return its path, for this process and what it becomes.

    Raises:
        OSError: memory cannot take it, as by a limit on the size of files.
    """
    return f"{MEMORY}{_in_memory(content)}"


def _in_memory(content: bytes) -> int:
    """Return an inheritable descriptor of a file that exists in memory only."""
    descriptor = os.memfd_create("runmeter", 0)
    left = memoryview(content)
    while left:
        left = left[os.write(descriptor, left) :]
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return what to push (``--file`` or ``--all``), where to, and how long it may take.

    ``--deadline-ns`` is a time of the monotonic clock; ``--timeout-ns`` counts for each run.
    """
    parser = argparse.ArgumentParser(prog="runmeter.collector.push")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--file")
    what.add_argument("--all", action="store_true")
    parser.add_argument("--endpoint", required=True)
    parser.add_argument("--token-fd", type=int, required=True)
    parser.add_argument("--deadline-ns", type=int, default=0)
    parser.add_argument("--timeout-ns", type=int, default=0)
    parser.add_argument("--lock-fd", type=int)
    parser.add_argument("--spool-dir", default="")
    parser.add_argument("--live", action="store_true")
    parser.add_argument("--rejected", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--signals", type=int, default=0)
    parser.add_argument("--exit-code", type=int)
    parser.add_argument("--log-format", default="json")
    parser.add_argument("--log-level", default="info")
    for name in ("--tls-ca", "--tls-cert", "--tls-key", "--tls-server-name"):
        parser.add_argument(name, default="")
    return parser.parse_args(argv)
