"""The command line of the pusher, which takes over a run that is in the spool or in memory.

The token passes through a descriptor, never through an argument.
"""

import os
import sys
from time import monotonic_ns

from runmeter.collector import program, spool
from runmeter.collector.config import Config, SpoolConfig

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
    return f"{spool.MEMORY}{_in_memory(content)}"


def _in_memory(content: bytes) -> int:
    """Return an inheritable descriptor of a file that exists in memory only."""
    descriptor = os.memfd_create("runmeter", 0)
    left = memoryview(content)
    while left:
        left = left[os.write(descriptor, left) :]
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor
