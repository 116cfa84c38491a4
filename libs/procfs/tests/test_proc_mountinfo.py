"""/proc/<pid>/mountinfo."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runmeter.procfs import Mount, ParseError, ProcFS, decode_name, parse_proc_mountinfo


def mangle(raw: bytes) -> bytes:
    """Escape as the kernel does."""
    for byte in b"\\ \t\n#":
        raw = raw.replace(bytes((byte,)), b"\\%03o" % byte)
    return raw


@pytest.mark.parametrize(
    ("raw", "mount"),
    [
        (
            b"36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 shared:2 - ext3 /dev/root rw,errors=x\n",
            Mount("/mnt1", "/mnt2", "ext3", "rw,errors=x"),
        ),
        # two spaces behind the separator: an empty type, source tmpfs
        (b"1 1 0:2 / /a\\040b\\011\\134x rw -  tmpfs  rw", Mount("/", r"/a b\x09\x", "", " rw")),
        (b"1 1 0:2 / /a\\040b\\011\\134x rw - tmpfs  rw", Mount("/", r"/a b\x09\x", "tmpfs", "rw")),
        (
            b"1 1 0:2 /x//deleted /y\\04 rw - tmpfs a\\777b rw a b",
            Mount("/x//deleted", r"/y\04", "tmpfs", "rw a b"),
        ),
        (b"1 1 0:2 - - rw - - - -", Mount("-", "-", "-", "-")),
        (b"x -1 02 / /a rw - ext4 b rw", Mount("/", "/a", "ext4", "rw")),
    ],
)
def test_examples(raw: bytes, mount: Mount) -> None:
    """Optional fields are skipped, octal escapes undone; ids, which are not used, do not matter."""
    assert parse_proc_mountinfo(raw) == (mount,)


@pytest.mark.parametrize(
    "raw", [b"\n", b"1 1 0:2 / / rw ext4 x rw\n", b"1 1 0:2 / / rw - ext4 x\n"]
)
def test_malformed(raw: bytes) -> None:
    """A line without separator or with too few fields is left out; without another: refused."""
    with pytest.raises(ParseError):
        parse_proc_mountinfo(raw)
    good = b"1 1 0:2 / /a rw - ext4 b rw\n"
    assert parse_proc_mountinfo(raw + good) == parse_proc_mountinfo(good)


NAMES = st.binary(min_size=1, max_size=30)


@given(
    ids=st.tuples(*[st.integers(0, 2**32)] * 4),
    names=st.tuples(*[NAMES] * 5),
    optional=st.lists(st.sampled_from([b"shared:1", b"master:2", b"unbindable"])),
)
def test_round_trip(ids: tuple[int, ...], names: tuple[bytes, ...], optional: list[bytes]) -> None:
    """Whatever the kernel escapes comes back as the name it was."""
    root, point, fs_type, source, options = names
    raw = b" ".join(
        [
            b"%d %d %d:%d" % ids,
            mangle(root),
            mangle(point),
            b"rw",
            *optional,
            b"-",
            mangle(fs_type),
            mangle(source),
            mangle(options),
        ]
    )
    shown = [decode_name(name) for name in names]
    assert parse_proc_mountinfo(raw + b"\n") == (Mount(shown[0], shown[1], shown[2], shown[4]),)


def test_live() -> None:
    """The test process sees a root and a proc file system."""
    mounts = ProcFS("/proc", 4096, 100).proc_mountinfo(os.getpid())
    assert any(mount.mount_point == "/" for mount in mounts)
    proc = [m for m in mounts if m.mount_point == "/proc"][-1]
    assert proc.fs_type == "proc"
