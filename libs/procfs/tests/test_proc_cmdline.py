"""/proc/<pid>/cmdline: the first word only."""

import subprocess
import sys
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from runmeter.procfs import ProcFS, decode_name, parse_argv0
from runmeter.procfs.proc_cmdline import READ_BYTES_MAX


@given(st.lists(st.binary(max_size=20).map(lambda w: w.replace(b"\0", b"")), min_size=1))
def test_first_word(words: list[bytes]) -> None:
    """Only the first word is returned."""
    raw = b"".join(word + b"\0" for word in words)
    assert parse_argv0(raw) == decode_name(words[0])


def test_empty_and_endless() -> None:
    """Kernel threads have none; a word without end is cut at what the reader may read."""
    assert parse_argv0(b"") == ""
    assert parse_argv0(b"x" * 10_000) == "x" * READ_BYTES_MAX


def test_reader_stops_at_the_limit(tmp_path: Path) -> None:
    """No more than the limit is read, however long the command line is."""
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "cmdline").write_bytes(b"x" * READ_BYTES_MAX + b"secret")
    assert ProcFS(str(tmp_path), 4096, 100).proc_argv0(7) == "x" * READ_BYTES_MAX


def test_live() -> None:
    """The first word of a real process with a secret behind it is all there is."""
    code = "print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-I", "-c", code, "secret"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()  # it runs, so exec has happened
        assert ProcFS("/proc", 4096, 100).proc_argv0(process.pid) == sys.executable
        process.communicate(b"\n", timeout=20)
