"""The script that captures recordings: what it writes, and what it must never write."""

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from runmeter.procfs import ProcFS

SCRIPT = Path(__file__).parents[1] / "scripts" / "record.py"


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    """Return the names of the script."""
    return runpy.run_path(str(SCRIPT))


def test_live_recording(tmp_path: Path) -> None:
    """A live process is recorded, readable by the readers, without its secrets."""
    code = "print(flush=True); input()"
    environment = {"TOKEN": "secret-in-environ"}
    with subprocess.Popen(
        [sys.executable, "-I", "-c", code, "secret-argument"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        out = tmp_path / "recording"
        command = [sys.executable, "-I", str(SCRIPT), str(out), "--pid", str(process.pid)]
        subprocess.run(command, check=True)
        again = subprocess.run(command, capture_output=True, text=True, check=False)
        process.communicate(b"\n", timeout=20)
    assert again.returncode == 2
    assert "is there already" in again.stderr
    origin = json.loads((out / "origin.json").read_text())
    procfs = ProcFS(str(out / "proc"), origin["page_size"], origin["ticks_per_second"])
    assert procfs.pids() == [process.pid]
    assert procfs.proc_stat(process.pid).ppid == os.getpid()
    assert procfs.proc_argv0(process.pid) == Path(sys.executable).name
    assert procfs.proc_status(process.pid).vm_rss_kb
    assert procfs.stat().cpu_count > 0
    assert procfs.proc_mountinfo(process.pid)
    content = b"".join(path.read_bytes() for path in out.rglob("*") if path.is_file())
    assert b"secret" not in content
    assert not list(out.rglob("environ"))


def test_paths(script: dict[str, Any]) -> None:
    """Ids and unknown names are replaced, equal ones equally, the shape stays."""
    scrubber = script["Scrubber"](keep=["app"])
    container, other = b"0123456789abcdef" * 4, b"f" * 64
    path = scrubber.path(b"/kubepods/pod11111111-2222-3333-4444-555555555555/" + container)
    assert path == scrubber.path(b"/kubepods/pod11111111-2222-3333-4444-555555555555/" + container)
    assert container not in path
    assert len(path.rpartition(b"/")[2]) == 64
    assert scrubber.path(b"/" + other) != scrubber.path(b"/" + container)
    assert scrubber.path(b"/customer-name/app/..") == b"/name1/app/.."
    scope = scrubber.path(b"/system.slice/docker-" + container + b".scope")
    assert scope == b"/system.slice/docker-" + path.rpartition(b"/")[2] + b".scope"


def test_uuid_spellings(script: dict[str, Any]) -> None:
    """A pod is replaced by the same digits whether its id is written with - or with _."""
    scrubber = script["Scrubber"]()
    dashes = scrubber.path(b"/pod11111111-2222-3333-4444-555555555555")
    underscores = scrubber.path(b"/pod11111111_2222_3333_4444_555555555555")
    assert b"11111111" not in dashes
    assert underscores == dashes.replace(b"-", b"_")


def test_mountinfo(script: dict[str, Any]) -> None:
    """Mount points, sources and options that identify the machine are replaced."""
    raw = (
        b"1 0 8:1 / / rw - ext4 /dev/mapper/customer rw,password=x\n"
        b"2 1 0:5 /customer /srv/customer rw shared:1 - nfs host.example:/export rw,addr=10.0.0.1\n"
        b"3 1 0:6 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"
    )
    assert script["Scrubber"]().mountinfo(raw) == (
        b"1 0 8:1 / / rw - ext4 /dev/disk1 rw\n"
        b"2 1 0:5 /name1 /mnt/1 rw shared:1 - nfs /dev/disk2 rw\n"
        b"3 1 0:6 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"
    )


@pytest.mark.parametrize(
    ("raw", "kept"),
    [
        (b"/usr/bin/tool\0--token\0x\0", b"tool\0"),
        (b"postgres: user secret\0", b"postgres:\0"),
        (b"tool", b"tool\0"),
        (b"", b""),
    ],
)
def test_command_lines(script: dict[str, Any], raw: bytes, kept: bytes) -> None:
    """Of a command line the base name of the first word stays, of a title its first word."""
    assert script["harmless_cmdline"](raw) == kept


def test_committed_recordings_are_scrubbed() -> None:
    """No committed recording holds an environment, an argument or a kernel build name."""
    recordings = Path(__file__).with_name("recordings")
    for path in recordings.rglob("*"):
        assert path.name != "environ"
        if path.name == "cmdline":
            raw = path.read_bytes()
            assert raw.count(b"\0") == bool(raw)
            assert not {b"/", b" "} & set(raw.split())
        if path.name == "origin.json":
            kernel = json.loads(path.read_text()).get("kernel", "Linux 0")
            assert kernel.removeprefix("Linux ").replace(".", "").isdigit()
