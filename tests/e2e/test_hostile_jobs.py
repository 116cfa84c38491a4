"""Jobs that disturb the collector: their runs are stored, and the jobs are not disturbed."""

import errno
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rig.losses import Losses, left, names, push_id
from rig.namespaces import needs_unshare
from rig.programs import Program
from rig.proxy import Proxy

pytestmark = pytest.mark.slow

# becomes `python -m runmeter.collector` with the arguments of the program named before them
AS_MODULE = """
import os, sys
os.execv(sys.executable, [sys.executable, "-m", "runmeter.collector", *sys.argv[2:]])
"""
SUBVERSIVE = "open({marker!r}, 'a').close()\nraise SystemExit('imported from the job')\n"
NAMES = ("grpc", "structlog", "tenacity", "google", "argparse", "json", "signal", "typing")


def only_run(losses: Losses) -> dict[str, Any]:
    """Return the only record, the spool being empty."""
    (record,) = losses.stored().values()
    assert names(losses.spool) == []
    return dict(record)


def check_modules(losses: Losses, *more_names: str, is_module: bool = False, **more: str) -> None:
    """Check that with modules of these names in the job's folder all is as it would be without."""
    marker = losses.stage.folder / "imported"
    for name in NAMES + more_names:
        (losses.stage.folder / f"{name}.py").write_text(SUBVERSIVE.format(marker=str(marker)))
    script = 'until [ -e go ]; do sleep 0.05; done; echo "$PYTHONPATH,$PYTHONINSPECT"; exit 5'
    wrapper = (sys.executable, "-c", AS_MODULE) if is_module else ()
    collector = losses.start(
        "--checkpoint-push=1s", "--", "sh", "-c", script, environment=more, wrapper=wrapper
    )
    collector.event("checkpoint.pushed")
    (losses.stage.folder / "go").touch()
    assert collector.wait() == 5, collector.text
    expected = f"{more.get('PYTHONPATH', '')},{more.get('PYTHONINSPECT', '')}"
    assert collector.output == [expected]
    assert not marker.exists()
    assert only_run(losses)["exit_code"] == 5


def test_modules_in_the_folder_of_the_job(losses: Losses) -> None:
    """A ``grpc.py`` or ``json.py`` in the folder the collector is started in is not imported."""
    check_modules(losses, "runmeter", "sitecustomize")


def test_modules_in_the_folder_of_the_job_beside_python_m(losses: Losses) -> None:
    """Nor is it by ``python -m runmeter.collector``, which looks into that folder first."""
    check_modules(losses, is_module=True)


@pytest.mark.parametrize("package", ["runmeter/__init__.py", "runmeter/collector/cli.py"])
def test_modules_where_pythonpath_leads(losses: Losses, package: str) -> None:
    """Nor is what the job has for itself on PYTHONPATH, a package of our name among it; the job
    gets that variable, and all others for its Python, as they were."""
    path = losses.stage.folder / package
    path.parent.mkdir(parents=True)
    path.write_text(SUBVERSIVE.format(marker=str(losses.stage.folder / "imported")))
    check_modules(losses, PYTHONPATH=f"src:{losses.stage.folder}", PYTHONINSPECT="1")


@pytest.mark.parametrize("closed", ["0", "1", "2", "12", "012"])
@pytest.mark.parametrize("who", ["collector", "job"])
def test_closed_descriptors(losses: Losses, who: str, closed: str) -> None:
    """Standard streams that are closed, the collector's or the job's, cost nothing: no file of
    ours takes their place."""
    closing = "exec " + " ".join(f"{number}>&-" for number in closed)
    job = ["sh", "-c", f"{closing if who == 'job' else ':'}; sleep 0.3; exit 5"]
    wrapper = ["sh", "-c", f'{closing}; exec "$@"', "sh"] if who == "collector" else []
    collector = losses.start("--", *job, wrapper=wrapper)
    assert collector.wait() == 5, collector.text
    record = only_run(losses)
    assert record["exit_code"] == 5
    assert record["state"] == "completed"


# fills standard output until nothing more can be written, then ends with 6
FILL = """
import os
os.set_blocking(1, False)
try:
    while True:
        os.write(1, bytes(65536))
except OSError:
    os._exit(6)
"""


@pytest.mark.parametrize("place", ["pipe", "/dev/full"])
def test_a_job_that_fills_its_own_output(losses: Losses, place: str) -> None:
    """Standard output that is full or closed changes the job, not the run."""
    target = place if place.startswith("/") else str(losses.stage.folder / place)
    if place == "pipe":
        os.mkfifo(target)
    # open for both, so that there is a reader, who never reads
    wrapper = ("sh", "-c", 'exec 1<>"$0"; exec "$@"', target)
    collector = losses.start("--", sys.executable, "-I", "-c", FILL, wrapper=wrapper)
    assert collector.wait() == 6, collector.text
    assert only_run(losses)["exit_code"] == 6


def test_the_collector_is_killed_by_its_job(losses: Losses) -> None:
    """A job that kills the collector goes on; its run is stored as INTERRUPTED."""
    done = losses.stage.folder / "done"
    script = 'until [ -e "$1/go" ]; do sleep 0.02; done; kill -9 $PPID; sleep 0.2; echo > "$1/done"'
    collector = losses.start("--", "sh", "-c", script, "sh", str(losses.stage.folder))
    collector.event("checkpoint.written", count=2)
    (losses.stage.folder / "go").touch()
    assert collector.wait() == -signal.SIGKILL
    assert done.exists()  # the job has its standard error: we have waited for its end
    ((run, (state, revision)),) = left(losses.spool).items()
    assert (run, state) == (push_id(collector), "running")
    losses.push()
    record = only_run(losses)
    assert (record["state"], record["revision"]) == ("interrupted", revision)


def test_the_waiting_collector_is_killed(losses: Losses) -> None:
    """A process that the job has left kills the collector while its pusher works: the run is
    stored as COMPLETED."""
    script = '(until [ -e "$1/go" ]; do sleep 0.02; done; kill -9 $PPID) >/dev/null 2>&1 & exit 7'
    with Proxy(losses.stack.receiver.address, is_up=False) as proxy:
        collector = losses.start(
            *("--", "sh", "-c", script, "sh", str(losses.stage.folder)),
            endpoint=f"grpc://{proxy.address}",
        )
        collector.event("push.retrying")
        (losses.stage.folder / "go").touch()
        assert collector.process.wait(20) == -signal.SIGKILL
        proxy.up()
        collector.event("run.pushed")
        collector.wait()  # until the pusher has closed its standard error
    record = only_run(losses)
    assert (record["state"], record["exit_code"]) == ("completed", 7)


# -- pid 1 --------------------------------------------------------------------------------

FIRST = ("unshare", "--pid", "--fork", "--mount-proc")


def child_of(program: Program) -> int:
    """Return the pid of the only child of a program."""
    pid = program.process.pid
    (child,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(child)


@needs_unshare()
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_pid_1_ends_by_a_signal(losses: Losses, number: signal.Signals) -> None:
    """As pid 1 of a container the collector handles signals: one ends it, the run is stored."""
    collector = losses.start(wrapper=FIRST)
    collector.event("checkpoint.written")
    os.kill(child_of(collector), number)
    assert collector.wait() == 0, collector.text
    assert only_run(losses)["state"] == "completed"


@needs_unshare()
def test_pid_1_twice_signalled(losses: Losses) -> None:
    """As pid 1 a second signal ends the push, the run is kept."""
    with Proxy(losses.stack.receiver.address, is_up=False) as proxy:
        collector = losses.start(wrapper=FIRST, endpoint=f"grpc://{proxy.address}")
        collector.event("checkpoint.written")
        os.kill(child_of(collector), signal.SIGTERM)
        collector.event("push.retrying")
        os.kill(child_of(collector), signal.SIGINT)
        assert collector.wait() == 3, collector.text
    assert list(left(losses.spool)) == [push_id(collector)]
    losses.push()
    assert only_run(losses)["state"] == "completed"


@needs_unshare()
def test_pid_1_around_a_command(losses: Losses) -> None:
    """As pid 1 around a command that leaves orphans: they do no harm, its exit code counts."""
    script = "for n in 1 2 3; do (sleep 0.1 & sleep 60 &); done; sleep 0.4; exit 9"
    collector = losses.start("--", "sh", "-c", script, wrapper=FIRST)
    assert collector.wait() == 9, collector.text
    record = only_run(losses)
    assert (record["state"], record["exit_code"]) == ("completed", 9)


@needs_unshare()
def test_a_sidecar_that_ends_last(losses: Losses) -> None:
    """Ended when all others of its pid namespace have gone, a sidecar pushes the whole run."""
    script = (
        "until [ -e go ]; do sleep 0.05; done & job=$!; "
        '"$@" & sidecar=$!; wait $job; echo gone; '
        "until [ -e end ]; do sleep 0.05; done; kill -TERM $sidecar; wait $sidecar"
    )
    collector = losses.start("--top=1000", wrapper=(*FIRST, "sh", "-c", script, "sh"))
    collector.event("checkpoint.written")
    (losses.stage.folder / "go").touch()
    seen = len(collector.events("sample.taken"))
    collector.event("sample.taken", count=seen + 5)
    (losses.stage.folder / "end").touch()
    assert collector.wait() == 0, collector.text
    assert collector.output == ["gone"]
    record = only_run(losses)
    assert record["state"] == "completed"
    assert record["payload"]["sample_count"] >= seen + 5
    assert "sleep" in {found["name"] for found in record["payload"]["top_mem_processes"]}


@needs_unshare()
def test_pid_1_killed(losses: Losses) -> None:
    """A container that is killed leaves its last checkpoint, even while one is written."""
    collector = losses.start(wrapper=FIRST)
    collector.event("checkpoint.written", count=3)
    os.kill(child_of(collector), signal.SIGKILL)
    collector.wait()
    ((_, (state, revision)),) = left(losses.spool).items()
    assert state == "running"
    assert revision >= 3
    losses.push()
    record = only_run(losses)
    assert (record["state"], record["revision"]) == ("interrupted", revision)


# -- a spool that cannot be written -------------------------------------------------------


@pytest.fixture
def small_spool(losses: Losses) -> Iterator[Callable[..., None]]:
    """Mount 64 KiB as the spool; return what changes it: ``fill``, ``empty``, ``read_only``."""
    folder = losses.spool
    folder.mkdir(mode=0o700)
    mounting = f"mount -t tmpfs -o size=64k,mode=700 none {folder}"
    if os.geteuid() != 0 or os.system(f"{mounting} 2>/dev/null") != 0:
        pytest.skip("needs root and a mount")
    filler = folder / "filler"

    def change(what: str) -> None:
        if what == "read_only":
            assert os.system(f"mount -o remount,ro {folder}") == 0
        elif what == "empty":
            filler.unlink()
        else:
            _fill(filler)

    yield change
    assert os.system(f"umount --lazy {folder}") == 0


def _fill(path: Path) -> None:
    with path.open("wb", 0) as file:
        try:
            while True:
                file.write(bytes(512))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise


# not read-only since a checkpoint: no mount can be made so while a lock in it is open
@pytest.mark.parametrize(
    ("how", "since"), [("fill", "start"), ("read_only", "start"), ("fill", "checkpoint")]
)
def test_a_spool_that_cannot_be_written(
    losses: Losses, small_spool: Callable[[str], None], how: str, since: str
) -> None:
    """The run is measured on and pushed from memory, whole; there is one warning."""
    if since == "start":
        small_spool(how)
    collector = losses.start()
    collector.event("spool.failed" if since == "start" else "checkpoint.written")
    if since == "checkpoint":
        small_spool(how)
        collector.event("spool.failed")
    assert collector.stop() == 0, collector.text
    assert len(collector.events("spool.failed")) == 1, collector.text
    (record,) = losses.stored().values()
    assert record["push_id"] == push_id(collector)
    assert record["state"] == "completed"


def test_a_full_spool_and_no_receiver(losses: Losses, small_spool: Callable[[str], None]) -> None:
    """Where the end of a run can go nowhere its last checkpoint stays, and is stored later."""
    with Proxy(losses.stack.receiver.address, is_up=False) as proxy:
        collector = losses.start("--shutdown-timeout=1s", endpoint=f"grpc://{proxy.address}")
        collector.event("checkpoint.written")
        small_spool("fill")
        collector.event("spool.failed")
        assert collector.stop() == 3, collector.text
    ((run, (state, revision)),) = left(losses.spool).items()
    assert (run, state) == (push_id(collector), "running")
    small_spool("empty")
    losses.push()
    record = only_run(losses)
    assert (record["state"], record["revision"]) == ("interrupted", revision)
