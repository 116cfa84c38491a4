"""/proc/<pid>/status."""

from typing import NamedTuple

from runmeter.procfs.errors import ParseError
from runmeter.procfs.fields import unsigned
from runmeter.procfs.names import decode_name

FILE = "/proc/<pid>/status"


class ProcStatus(NamedTuple):
    """One process. Kernel threads and zombies have no memory lines: None."""

    name: str  # comm, decoded
    state: str  # one letter
    tgid: int  # the pid of the process
    ppid: int
    real_uid: int  # as seen from the reader's user namespace
    effective_uid: int
    real_gid: int
    effective_gid: int
    ns_pids: tuple[int, ...]  # pid in every namespace, outermost first; empty before Linux 4.1
    vm_hwm_kb: int | None  # highest rss, kB
    vm_rss_kb: int | None  # rss, kB
    rss_anon_kb: int | None  # its anonymous part, kB; None before Linux 4.5 too
    threads: int
    sig_ign: int  # ignored signals: bit n-1 is signal n
    cap_eff: int | None = None  # effective capabilities: bit n is number n; None: no such line


def parse_proc_status(raw: bytes) -> ProcStatus:
    """Parse ``/proc/<pid>/status``: one ``Key:<tab>value`` per line; memory in kB.

    Raises:
        ParseError: a line that every kernel writes is missing, or a value is malformed.

    Source: proc_pid_status(5); kernel fs/proc/array.c, proc_pid_status().
    """
    lines: dict[bytes, bytes] = {}
    for line in raw.split(b"\n"):
        key, colon, value = line.partition(b":\t")
        if colon:
            lines.setdefault(key, value)
    uids = _ids(lines, b"Uid")
    gids = _ids(lines, b"Gid")
    return ProcStatus(
        name=decode_name(_unescaped(_line(lines, b"Name"))),
        state=_state(_line(lines, b"State")),
        tgid=_number(lines, b"Tgid"),
        ppid=_number(lines, b"PPid"),
        real_uid=uids[0],
        effective_uid=uids[1],
        real_gid=gids[0],
        effective_gid=gids[1],
        ns_pids=_numbers(lines, b"NSpid") if b"NSpid" in lines else (),
        vm_hwm_kb=_kilobytes(lines, b"VmHWM"),
        vm_rss_kb=_kilobytes(lines, b"VmRSS"),
        rss_anon_kb=_kilobytes(lines, b"RssAnon"),
        threads=_number(lines, b"Threads"),
        sig_ign=_mask(lines, b"SigIgn"),
        cap_eff=_mask(lines, b"CapEff") if b"CapEff" in lines else None,
    )


def _line(lines: dict[bytes, bytes], key: bytes) -> bytes:
    if key not in lines:
        raise ParseError(FILE, f"{key.decode()} is missing")
    return lines[key]


def _number(lines: dict[bytes, bytes], key: bytes) -> int:
    return unsigned(_line(lines, key), FILE, key.decode())


def _numbers(lines: dict[bytes, bytes], key: bytes) -> tuple[int, ...]:
    return tuple(unsigned(text, FILE, key.decode()) for text in _line(lines, key).split(b"\t"))


def _ids(lines: dict[bytes, bytes], key: bytes) -> tuple[int, ...]:
    """Return real, effective, saved and file system id."""
    ids = _numbers(lines, key)
    if len(ids) != 4:
        raise ParseError(FILE, f"{key.decode()} does not have four ids")
    return ids


def _kilobytes(lines: dict[bytes, bytes], key: bytes) -> int | None:
    if key not in lines:
        return None
    number, _, unit = lines[key].lstrip(b" ").partition(b" ")
    if unit != b"kB":
        raise ParseError(FILE, f"{key.decode()} is not in kB")
    return unsigned(number, FILE, key.decode())


def _state(value: bytes) -> str:
    letter = value[:1]
    if not letter.isalpha() or value[1:2] not in (b"", b" "):
        raise ParseError(FILE, "State is not a letter")
    return letter.decode()


def _mask(lines: dict[bytes, bytes], key: bytes) -> int:
    value = _line(lines, key)
    if len(value) != 16 or value.strip(b"0123456789abcdef"):
        raise ParseError(FILE, f"{key.decode()} is not a mask of 16 hexadecimal digits")
    return int(value, 16)


def _unescaped(name: bytes) -> bytes:
    r"""Undo the kernel's ``\n`` and ``\\``: in this file alone it escapes newline, backslash."""
    if b"\\" not in name:
        return name
    parts = name.split(b"\\\\")
    return b"\\".join(part.replace(b"\\n", b"\n") for part in parts)
