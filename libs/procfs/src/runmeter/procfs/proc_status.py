"""/proc/<pid>/status."""

from typing import NamedTuple

from runmeter.procfs.fields import readable, unsigned
from runmeter.procfs.meminfo import kilobytes
from runmeter.procfs.names import decode_name

FILE = "/proc/<pid>/status"


class ProcStatus(NamedTuple):
    """One process; what is missing or malformed is None, each by itself.

    Kernel threads and zombies have no memory lines, sandboxes such as gVisor no signals.
    """

    name: str | None  # comm, decoded
    state: str | None  # one letter
    ppid: int | None
    ns_pids: tuple[int, ...]  # pid in every namespace, outermost first; empty before Linux 4.1
    vm_hwm_kb: int | None  # highest rss, kB
    vm_rss_kb: int | None  # rss, kB
    rss_anon_kb: int | None  # its anonymous part, kB; None before Linux 4.5 too
    threads: int | None
    sig_ign: int | None  # ignored signals: bit n-1 is signal n
    cap_eff: int | None  # effective capabilities: bit n is number n


def parse_proc_status(raw: bytes) -> ProcStatus:
    """Parse ``/proc/<pid>/status``: one ``Key:<tab>value`` per line; memory in kB.

    Source: proc_pid_status(5); kernel fs/proc/array.c, proc_pid_status().
    """
    lines: dict[bytes, bytes] = {}
    for line in raw.split(b"\n"):
        key, colon, value = line.partition(b":\t")
        if colon:
            lines.setdefault(key, value)
    pids = [readable(unsigned, text) for text in lines.get(b"NSpid", b"").split(b"\t")]
    name = lines.get(b"Name")
    return ProcStatus(
        name=None if name is None else decode_name(_unescaped(name)),
        state=_state(lines.get(b"State", b"")),
        ppid=readable(unsigned, lines.get(b"PPid")),
        ns_pids=() if None in pids else tuple(pid for pid in pids if pid is not None),
        vm_hwm_kb=kilobytes(lines.get(b"VmHWM", b"")),
        vm_rss_kb=kilobytes(lines.get(b"VmRSS", b"")),
        rss_anon_kb=kilobytes(lines.get(b"RssAnon", b"")),
        threads=readable(unsigned, lines.get(b"Threads")),
        sig_ign=_mask(lines.get(b"SigIgn", b"")),
        cap_eff=_mask(lines.get(b"CapEff", b"")),
    )


def _state(value: bytes) -> str | None:
    letter = value[:1]
    return letter.decode() if letter.isalpha() and value[1:2] in (b"", b" ") else None


def _mask(value: bytes) -> int | None:
    """Return a mask of 16 hexadecimal digits."""
    if len(value) != 16 or value.strip(b"0123456789abcdef"):
        return None
    return int(value, 16)


def _unescaped(name: bytes) -> bytes:
    r"""Undo the kernel's ``\n`` and ``\\``: in this file alone it escapes newline, backslash."""
    if b"\\" not in name:
        return name
    parts = name.split(b"\\\\")
    return b"\\".join(part.replace(b"\\n", b"\n") for part in parts)
