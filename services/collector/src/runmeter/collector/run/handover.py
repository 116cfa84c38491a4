"""Starting the pusher: this process replaces itself by it, with one order.

The order is one JSON object, the only argument of the pusher. The token is not in it: the pusher
reads it from a descriptor.
"""

import json
import os
import sys
from time import monotonic_ns
from typing import Any, NamedTuple, NoReturn

from runmeter.collector import program
from runmeter.collector.config.settings import Config, PushConfig
from runmeter.collector.run.signals import Signals
from runmeter.collector.spool.folder import StoredRun

RUN, CHECKPOINT, SPOOL = "run", "checkpoint", "spool"


class Order(NamedTuple):
    """What the pusher does.

    ``task``: ``run`` (a run that has ended, then the waiting runs of its scope), ``checkpoint``
    (a run that goes on) or ``spool`` (all waiting runs). ``push_id``, ``memory_fd``: of the run,
    as in `StoredRun`. ``deadline_ns``: for the run, a time of the monotonic clock.
    ``timeout_ns``: for each run of the spool. ``signal_count``: ending signals received so far;
    the second one ends the push. ``signal_number``, ``signal_ns``: the last of them, and when.
    """

    task: str
    endpoint: str
    token_fd: int
    spool_dir: str = ""
    push_id: str = ""
    memory_fd: int | None = None
    lock_fd: int | None = None
    deadline_ns: int = 0
    timeout_ns: int = 0
    signal_count: int = 0
    signal_number: int = 0
    signal_ns: int = 0
    retry_rejected: bool = False
    as_json: bool = False
    log_format: str = "json"
    log_level: str = "info"
    tls_ca: str = ""
    tls_cert: str = ""
    tls_key: str = ""
    tls_server_name: str = ""

    @property
    def stored(self) -> StoredRun:
        """Return where the run is stored."""
        return StoredRun(self.spool_dir, self.push_id, self.memory_fd)


def become_pusher(
    config: Config, stored: StoredRun, signals: Signals, *, lock_fd: int | None = None
) -> NoReturn:
    """Replace this process by the pusher of a run that has ended, and of the waiting runs.

    ``lock_fd``: the run's lock, which the pusher inherits.

    Raises:
        OSError: the program cannot be run, or its descriptors cannot be made.
    """
    if lock_fd is not None:
        os.set_inheritable(lock_fd, True)
    _become(
        config,
        task=RUN,
        push_id=stored.push_id,
        memory_fd=stored.memory_fd,
        lock_fd=lock_fd,
        deadline_ns=monotonic_ns() + config.shutdown_timeout_ns,
        signal_count=signals.ending_count,
        signal_number=signals.repeats.number,
        signal_ns=signals.repeats.at_ns,
    )


def become_checkpoint_pusher(config: Config, stored: StoredRun) -> NoReturn:
    """Replace this process by the pusher of a run that goes on; errors as `become_pusher`."""
    _become(
        config,
        task=CHECKPOINT,
        push_id=stored.push_id,
        memory_fd=stored.memory_fd,
        deadline_ns=monotonic_ns() + config.shutdown_timeout_ns,
    )


def become_spool_pusher(config: PushConfig, *, retry_rejected: bool, as_json: bool) -> NoReturn:
    """Replace this process by the pusher of all waiting runs; errors as `become_pusher`."""
    _become(
        config,
        task=SPOOL,
        timeout_ns=config.timeout_ns,
        signal_count=1,  # the first signal ends it
        retry_rejected=retry_rejected,
        as_json=as_json,
    )


def _become(config: Config | PushConfig, **fields: Any) -> NoReturn:
    assert config.endpoint is not None
    order = Order(
        endpoint=config.endpoint.url,
        token_fd=in_memory(config.push_token.encode()),
        spool_dir=config.spool_dir,
        log_format=config.log_format,
        log_level=config.log_level,
        tls_ca=config.tls_ca,
        tls_cert=config.tls_cert,
        tls_key=config.tls_key,
        tls_server_name=config.tls_server_name,
        **fields,
    )
    os.execv(sys.executable, [*program.pusher(), json.dumps(order._asdict())])


def in_memory(content: bytes) -> int:
    """Return an inheritable descriptor of a file that exists in memory only.

    Raises:
        OSError: memory cannot hold it, as by a limit on the size of files.
    """
    descriptor = os.memfd_create("runmeter", 0)
    left = memoryview(content)
    while left:
        left = left[os.write(descriptor, left) :]
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor
