"""/proc/<pid>/comm."""

import os
import signal
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from runmeter.procfs import ProcFS, decode_name, parse_proc_comm


@given(st.binary(max_size=64))
def test_only_the_last_newline_is_the_kernels(name: bytes) -> None:
    """A name that ends in newlines keeps them, as escapes."""
    assert parse_proc_comm(name + b"\n") == decode_name(name)


def test_live() -> None:
    """A process that renames itself to something hostile reads so."""
    hostile = b") R\n\\n \xff"
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        Path("/proc/self/comm").write_bytes(hostile)
        os.close(reader)
        os.write(writer, b".")
        signal.pause()
        os._exit(0)
    try:
        os.read(reader, 1)
        procfs = ProcFS("/proc", 4096, 100)
        assert procfs.proc_comm(pid) == r") R\x0a\n \xff"
        assert procfs.proc_stat(pid).comm == r") R\x0a\n \xff"
        assert procfs.proc_status(pid).name == r") R\x0a\n \xff"
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(reader)
        os.close(writer)
