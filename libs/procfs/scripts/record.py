"""Record chosen processes of a live /proc, and the counters of their cgroups, as a folder.

    record.py OUT [--pid N]... [--keep NAME]... [--no-counters]
                  [--proc /proc] [--cgroup /sys/fs/cgroup]

OUT/origin.json says how it came about; OUT/proc and OUT/cgroup mirror the two mounts. What
could tell about the machine is scrubbed on the way: see Scrubber. ``environ`` is never opened,
and of a command line only the base name of its first word is kept.
"""

import argparse
import json
import os
import re
import sys
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

MACHINE_FILES = ("stat", "meminfo", "loadavg")
PROCESS_FILES = ("stat", "statm", "status", "comm", "cgroup", "mountinfo", "cmdline")
COUNTERS_V1 = {
    "cpu": ("cpu.stat",),
    "cpuacct": ("cpuacct.usage",),
    "memory": (
        "memory.usage_in_bytes",
        "memory.max_usage_in_bytes",
        "memory.limit_in_bytes",
        "memory.stat",
        "memory.oom_control",
    ),
}
COUNTERS_V2 = (
    "cpu.stat",
    "cpu.max",
    "cpu.pressure",
    "memory.current",
    "memory.peak",
    "memory.max",
    "memory.stat",
    "memory.events",
    "memory.pressure",
    "io.pressure",
)
SCRUBBED = [
    "command lines: the base name of the first word",
    "ids and unknown names in paths: replaced, equal ones equally",
    "mount points outside of system folders, mount sources, file system options: replaced",
    "interrupt counters: the sum alone",
    "kernel release: the numbers alone",
]

_ID = re.compile(
    rb"[0-9a-f]{8}([-_])[0-9a-f]{4}\1[0-9a-f]{4}\1[0-9a-f]{4}\1[0-9a-f]{12}|[0-9a-f]{12,}"
)
_KNOWN_SEGMENT = re.compile(
    rb"|\.\.|kubepods|besteffort|burstable|guaranteed|docker|container|machine|init|"
    rb"[a-z0-9@._-]+\.slice|[a-z-]+-[0-9a-f]+\.scope|session-[0-9]+\.scope|(pod)?[0-9a-f_-]{12,}|"
    rb"var|lib|kubelet|pods|containers|etc-hosts|runmeter-recording|[a-z]+\.service"
)
_SYSTEM_MOUNT = re.compile(
    rb"/(proc|sys|dev|run|tmp|etc/(hosts|hostname|resolv\.conf))?(/[a-z0-9_,-]+)*"
)
_SYSTEM_ROOTS = (b"/proc", b"/sys", b"/dev", b"/run", b"/tmp", b"/etc")
_KNOWN_SOURCE = re.compile(rb"proc|sysfs|tmpfs|devtmpfs|devpts|cgroup2?|mqueue|overlay|shm|none")
_CONTROLLERS = frozenset(
    b"cpu cpuacct cpuset memory devices freezer blkio pids name=systemd".split()
)


class Scrubber:
    """Replaces facts about a machine; equal text is replaced equally."""

    def __init__(self, keep: Iterable[str] = ()) -> None:
        self._keep = frozenset(name.encode() for name in keep)
        self._replaced: dict[tuple[str, bytes], bytes] = {}

    def identity(self, match: re.Match[bytes]) -> bytes:
        """Replace the hexadecimal digits of an id, keeping its length and separators."""
        text = match.group()

        def fresh(number: int) -> bytes:
            digits = iter(sha256(b"recording %d" % number).hexdigest() * (1 + len(text) // 64))
            return "".join(c if c in "-_" else next(digits) for c in text.decode()).encode()

        canonical = text.replace(b"_", b"-")
        found = self._replacement("id", canonical, fresh)
        return found.replace(b"-", b"_") if b"_" in text else found.replace(b"_", b"-")

    def path(self, path: bytes) -> bytes:
        """Replace ids and names that are not of a known container runtime."""
        return b"/".join(self._segment(part) for part in path.split(b"/"))

    def mount_point(self, path: bytes) -> bytes:
        """Replace mount points outside of system folders."""
        known = path == b"/" or path.startswith(_SYSTEM_ROOTS)
        if known and _SYSTEM_MOUNT.fullmatch(path):
            return path
        return self._replacement("mount point", path, lambda number: b"/mnt/%d" % number)

    def source(self, source: bytes) -> bytes:
        """Replace devices and other sources of mounts."""
        if _KNOWN_SOURCE.fullmatch(source):
            return source
        return self._replacement("source", source, lambda number: b"/dev/disk%d" % number)

    def mountinfo(self, raw: bytes) -> bytes:
        """Scrub ``/proc/<pid>/mountinfo``."""
        return b"".join(map(self._mount, raw.splitlines(keepends=True)))

    def cgroup(self, raw: bytes) -> bytes:
        """Scrub ``/proc/<pid>/cgroup``."""
        lines = []
        for line in raw.splitlines(keepends=True):
            hierarchy, controllers, path = line.split(b":", 2)
            lines.append(b":".join((hierarchy, controllers, self.path(path[:-1]) + b"\n")))
        return b"".join(lines)

    def _mount(self, line: bytes) -> bytes:
        left, _, right = line.rstrip(b"\n").partition(b" - ")
        fields = left.split(b" ")
        fields[3] = self.path(fields[3])
        fields[4] = self.mount_point(fields[4])
        fs_type, source, options = right.split(b" ", 2)
        kept = [o for o in options.split(b",") if o in (b"rw", b"ro") or o in _CONTROLLERS]
        tail = b" ".join((fs_type, self.source(source), b",".join(kept)))
        return b" ".join(fields) + b" - " + tail + b"\n"

    def _segment(self, segment: bytes) -> bytes:
        if segment in self._keep:
            return segment
        if not _KNOWN_SEGMENT.fullmatch(segment):
            return self._replacement("name", segment, lambda number: b"name%d" % number)
        return _ID.sub(self.identity, segment)

    def _replacement(self, kind: str, text: bytes, make: Callable[[int], bytes]) -> bytes:
        key = (kind, text)
        if key not in self._replaced:
            number = sum(known == kind for known, _ in self._replaced) + 1
            self._replaced[key] = make(number)
        return self._replaced[key]


def harmless_cmdline(raw: bytes) -> bytes:
    """Return the base name of the first word, nothing of what follows, and a NUL."""
    word = raw.partition(b"\0")[0].partition(b" ")[0]
    return word.rpartition(b"/")[2] + b"\0" if word else b""


def machine_stat(raw: bytes) -> bytes:
    """Return ``/proc/stat`` with the sum of the interrupts only."""
    lines = raw.splitlines(keepends=True)
    return b"".join(
        b" ".join(line.split()[:2]) + b"\n" if line.startswith((b"intr ", b"softirq ")) else line
        for line in lines
    )


def record(
    out: Path,
    proc: Path,
    cgroup: Path,
    pids: Iterable[int],
    *,
    counters: bool,
    command: str,
    keep: Iterable[str] = (),
) -> None:
    """Write one recording; files that vanish or are refused meanwhile are left out."""
    scrubber = Scrubber(keep)
    changes: dict[str, Callable[[bytes], bytes]] = {
        "cgroup": scrubber.cgroup,
        "mountinfo": scrubber.mountinfo,
        "cmdline": harmless_cmdline,
    }
    for name in MACHINE_FILES:
        change = machine_stat if name == "stat" else bytes
        _copy(proc / name, out / "proc" / name, change)
    for pid in pids:
        for name in PROCESS_FILES:
            _copy(proc / str(pid) / name, out / "proc" / str(pid) / name, changes.get(name, bytes))
        if counters:
            _record_counters(out, cgroup, (proc / str(pid) / "cgroup").read_bytes(), scrubber)
    origin = {
        "how": "captured",
        "command": command,
        "kernel": "Linux " + re.sub(r"[^0-9.].*", "", os.uname().release),
        "machine": os.uname().machine,
        "date": datetime.now(UTC).date().isoformat(),
        "page_size": os.sysconf("SC_PAGE_SIZE"),
        "ticks_per_second": os.sysconf("SC_CLK_TCK"),
        "scrubbed": SCRUBBED,
    }
    (out / "origin.json").write_text(json.dumps(origin, indent=2) + "\n")


def _copy(source: Path, target: Path, change: Callable[[bytes], bytes]) -> None:
    try:
        raw = source.read_bytes()
    except OSError:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(change(raw))


def _record_counters(out: Path, mount: Path, raw: bytes, scrubber: Scrubber) -> None:
    """Copy the counters of the cgroups a ``/proc/<pid>/cgroup`` names."""
    hybrid = (mount / "unified").is_dir()
    for line in raw.splitlines():
        _, controllers, path = line.split(b":", 2)
        if b".." in path.split(b"/"):
            continue
        wanted: dict[str, tuple[str, ...]]
        if controllers:
            names = controllers.decode().split(",")
            wanted = {name: COUNTERS_V1[name] for name in names if name in COUNTERS_V1}
        else:
            wanted = {"unified" if hybrid else ".": COUNTERS_V2}
        for folder, files in wanted.items():
            source = Path(os.fsdecode(os.fsencode(mount / folder) + path))
            target = Path(os.fsdecode(os.fsencode(out / "cgroup" / folder) + scrubber.path(path)))
            for file in files:
                _copy(source / file, target / file, bytes)


def main(argv: list[str]) -> int:
    """Record what the command line says."""
    parser = argparse.ArgumentParser(description="Record processes of a live /proc.")
    parser.add_argument("out", type=Path, help="folder to make")
    parser.add_argument("--pid", type=int, action="append", help="may be repeated; default: all")
    parser.add_argument("--proc", type=Path, default=Path("/proc"))
    parser.add_argument("--cgroup", type=Path, default=Path("/sys/fs/cgroup"))
    parser.add_argument("--no-counters", action="store_true", help="leave the cgroups out")
    parser.add_argument(
        "--keep", action="append", default=[], help="part of a path to keep; may be repeated"
    )
    args = parser.parse_args(argv)
    if args.out.exists():
        parser.error(f"{args.out} is there already")
    pids = args.pid or sorted(int(p.name) for p in args.proc.iterdir() if p.name.isdigit())
    flags = "" if args.pid is None else f" --pid ({len(args.pid)} of them)"
    flags += " --no-counters" if args.no_counters else ""
    record(
        args.out,
        args.proc,
        args.cgroup,
        pids,
        counters=not args.no_counters,
        command=f"record.py OUT{flags}",
        keep=args.keep,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
