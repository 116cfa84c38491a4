"""/proc/loadavg."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runmeter.procfs import Loadavg, ParseError, parse_loadavg

LOADS = st.integers(0, 10**7).map(lambda hundredths: f"{hundredths // 100}.{hundredths % 100:02}")


@given(st.tuples(LOADS, LOADS, LOADS), st.tuples(*[st.integers(0, 2**22)] * 3))
def test_round_trip(loads: tuple[str, str, str], counts: tuple[int, int, int]) -> None:
    """Loads and counts come back in their order."""
    raw = f"{' '.join(loads)} {counts[0]}/{counts[1]} {counts[2]}\n".encode()
    assert parse_loadavg(raw) == Loadavg(*map(float, loads), *counts)  # type: ignore[arg-type,misc]


@pytest.mark.parametrize(
    "raw", [b"", b"0.00 0.00 0.00 1/2\n", b"0.00 0.00 0.00 12 3\n", b"0.00 0.00 nan 1/2 3\n"]
)
def test_malformed(raw: bytes) -> None:
    """Anything but three loads, two counts and a pid is refused."""
    with pytest.raises(ParseError):
        parse_loadavg(raw)


def test_live() -> None:
    """A new process moves the last pid."""
    file = Path("/proc/loadavg")
    before = parse_loadavg(file.read_bytes())
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    after = parse_loadavg(file.read_bytes())
    assert after.last_pid != before.last_pid
    assert after.total > 0
