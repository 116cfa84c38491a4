"""/proc/<pid>/cgroup."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runmeter.procfs import ControlGroup, ParseError, ProcFS, decode_name, parse_proc_cgroup


@pytest.mark.parametrize(
    ("raw", "groups"),
    [
        (b"", ()),
        (b"0::/\n", (ControlGroup(0, (), "/"),)),
        (b"4:cpu,cpuacct:/a\n", (ControlGroup(4, ("cpu", "cpuacct"), "/a"),)),
        (b"1:name=systemd:/a", (ControlGroup(1, ("name=systemd",), "/a"),)),
        (b"0::/a:b::c\n", (ControlGroup(0, (), "/a:b::c"),)),
        (b"0::/../x\n", (ControlGroup(0, (), "/../x"),)),
        (b"0::/a (deleted)\n", (ControlGroup(0, (), "/a", True),)),
        (b"4:cpu:/a (deleted)\n", (ControlGroup(4, ("cpu",), "/a (deleted)"),)),
        (b"0::/\xff\x1b[0m\r\n", (ControlGroup(0, (), r"/\xff\x1b[0m\x0d"),)),
        (b"0::/a\\x2db\n", (ControlGroup(0, (), r"/a\x2db"),)),
    ],
)
def test_examples(raw: bytes, groups: tuple[ControlGroup, ...]) -> None:
    """v1, v2, colons, foreign namespaces, removed cgroups and hostile names."""
    assert parse_proc_cgroup(raw) == groups


@pytest.mark.parametrize("raw", [b"\n", b"0:/\n", b"0::x\n", b"x::/\n", b"::/\n", b"0:/\n\n0::\n"])
def test_malformed(raw: bytes) -> None:
    """A file without a line of the form id:controllers:path is refused."""
    with pytest.raises(ParseError):
        parse_proc_cgroup(raw)
    assert parse_proc_cgroup(b"4:cpu:/a\n" + raw) == (ControlGroup(4, ("cpu",), "/a"),)
    assert parse_proc_cgroup(raw + b"4:cpu:/a\n") == (ControlGroup(4, ("cpu",), "/a"),)


PATHS = st.binary(max_size=40).map(lambda p: b"/" + p.replace(b"\n", b""))
WORDS = st.text("abcdefghijklmnopqrstuvwxyz=_", min_size=1, max_size=10)


@given(st.lists(st.tuples(st.integers(1, 2**31), st.lists(WORDS, max_size=3), PATHS), max_size=5))
def test_round_trip(lines: list[tuple[int, list[str], bytes]]) -> None:
    """Every path without a newline comes back, decoded as a name."""
    raw = b"".join(
        b"%d:%s:%s\n" % (number, ",".join(words).encode(), path) for number, words, path in lines
    )
    assert parse_proc_cgroup(raw) == tuple(
        ControlGroup(number, tuple(words), decode_name(path)) for number, words, path in lines
    )


def test_live() -> None:
    """The test process has one line per hierarchy of its own file."""
    groups = ProcFS("/proc", 4096, 100).proc_cgroup(os.getpid())
    assert len(groups) == len(Path("/proc/self/cgroup").read_text().splitlines())
    assert all(group.path.startswith("/") for group in groups)
