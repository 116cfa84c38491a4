"""The collector as a program, a fake machine of real files, doubles of receiver and gateway.

The doubles speak the contract over real sockets: they record what arrives and give the answer that
a test sets. They check and store nothing.
"""

from __future__ import annotations

import json
import os
import queue
import shutil
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import pytest
from hypothesis import settings

from runmeter.procfs import ProcFS
from runmeter.v1 import ingest_service_pb2, ingest_service_pb2_grpc

FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
RECORDINGS = Path(__file__).parents[3] / "libs" / "procfs" / "tests" / "recordings"

settings.register_profile("ci", max_examples=200, derandomize=True, deadline=None)
settings.register_profile("soak", max_examples=2000, deadline=None, database=None)
settings.load_profile("ci")

WAIT_SECONDS = 60
PAGE_BYTES = 4096
TICKS_PER_SECOND = 100


class Entry(NamedTuple):
    """One process of the fake machine; times in ticks, sizes in pages."""

    pid: int
    ppid: int = 1
    comm: bytes = b"work"
    state: str = "S"
    start: int = 1000
    own: int = 0
    waited: int = 0
    resident: int = 0
    shared: int = 0
    cgroup: str = "0::/"
    argv: tuple[str, ...] = ()
    mounts: str = ""
    sig_ign: int = 0
    threads: int = 1


class Machine:
    """A folder laid out like /proc, to be read by the real ProcFS."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.entries: dict[int, Entry] = {}
        self.clock(busy=0, idle=0)
        self.memory(total_kb=1000, available_kb=600)

    @property
    def proc(self) -> ProcFS:
        """Return the reader: pages of 4096 bytes, 100 ticks per second."""
        return ProcFS(str(self.folder), PAGE_BYTES, TICKS_PER_SECOND)

    def clock(self, busy: int, idle: int, iowait: int = 0) -> None:
        """Set the machine's own counters, in ticks since boot."""
        self.write("stat", f"cpu  {busy} 0 0 {idle} {iowait} 0 0 0 0 0\ncpu0 {busy} 0 0 {idle}\n"
                   "cpu1 0 0 0 0\nctxt 1\nbtime 1\nprocesses 1\n")  # fmt: skip

    def memory(self, total_kb: int, available_kb: int) -> None:
        """Set the machine's memory."""
        text = f"MemTotal: {total_kb} kB\nMemFree: 1 kB\nMemAvailable: {available_kb} kB\n"
        self.write("meminfo", text)

    def add(self, pid: int, **fields: Any) -> None:
        """Start a process."""
        self.entries[pid] = Entry(pid, **fields)
        self._write(self.entries[pid], Entry._fields)

    def change(self, pid: int, **fields: Any) -> None:
        """Change fields of a living process."""
        self.entries[pid] = self.entries[pid]._replace(**fields)
        self._write(self.entries[pid], tuple(fields))

    def run(self, pid: int, ticks: int) -> None:
        """Add CPU time to a process."""
        self.change(pid, own=self.entries[pid].own + ticks)

    def remove(self, pid: int) -> None:
        """End a process."""
        del self.entries[pid]
        shutil.rmtree(self.folder / str(pid))

    def write(self, path: str, content: str | bytes) -> None:
        """Write one file of the mount."""
        target = self.folder / path
        target.write_bytes(content if isinstance(content, bytes) else content.encode())

    def _write(self, e: Entry, changed: tuple[str, ...]) -> None:
        (self.folder / str(e.pid)).mkdir(exist_ok=True)
        stat = f"{e.pid} (".encode() + e.comm + (
            f") {e.state} {e.ppid} {e.pid} {e.pid} 0 -1 0 0 0 0 0 {e.own} 0 {e.waited} 0 "
            f"20 0 {e.threads} 0 {e.start} 1 0 18446744073709551615 0 0\n"
        ).encode()  # fmt: skip
        self.write(f"{e.pid}/stat", stat)
        if {"resident", "shared"} & set(changed):
            self.write(f"{e.pid}/statm", f"999 {e.resident} {e.shared} 1 0 1 0\n")
        if "cgroup" in changed:
            self.write(f"{e.pid}/cgroup", e.cgroup + "\n")
        if "argv" in changed:
            self.write(f"{e.pid}/cmdline", "".join(f"{word}\0" for word in e.argv))
        if "mounts" in changed:
            self.write(f"{e.pid}/mountinfo", e.mounts)
        if "sig_ign" in changed:
            status = (
                f"Name:\tx\nState:\tS (sleeping)\nTgid:\t{e.pid}\nPPid:\t{e.ppid}\n"
                "Uid:\t0\t0\t0\t0\nGid:\t0\t0\t0\t0\n"
                f"VmHWM:\t    4008 kB\nThreads:\t1\nSigIgn:\t{e.sig_ign:016x}\n"
            )
            self.write(f"{e.pid}/status", status)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """Return a fake machine without processes."""
    return Machine(tmp_path / "proc")


@pytest.fixture(scope="session")
def new_machine() -> Callable[[Path], Machine]:
    """Return the maker of fake machines, for tests that need one per property case."""
    return Machine


@pytest.fixture(scope="session")
def recordings() -> Path:
    """Return the folder of captured and constructed /proc trees."""
    return RECORDINGS


@pytest.fixture(scope="session")
def golden() -> Path:
    """Return the folder of the contract's golden files."""
    return Path(__file__).parents[3] / "proto" / "golden"


@pytest.fixture
def golden_run(golden: Path) -> dict[str, Any]:
    """Return one full run, as it is kept and pushed."""
    run: dict[str, Any] = json.loads((golden / "run.json").read_text())
    for name in ("id", "received_at", "updated_at"):
        del run[name]
    return run


# -- clocks -------------------------------------------------------------------------------


class WallClock:
    """The wall clock of the programs that are started with its variables."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.variables = {
            "LD_PRELOAD": str(FAKETIME),
            "FAKETIME_TIMESTAMP_FILE": str(path),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
        self.before = ("env", *(f"{name}={value}" for name, value in self.variables.items()))
        self.set(0)

    def set(self, hours: float) -> None:
        """Set it to the machine's time plus these hours."""
        new = self._path.with_suffix(".new")
        new.write_text(f"{hours * 3600:+.0f}\n")
        new.rename(self._path)


@pytest.fixture
def wall_clock(tmp_path: Path) -> WallClock:
    """Return a wall clock, set to the machine's time."""
    if FAKETIME is None:
        pytest.skip("needs libfaketime (Debian: faketime)")
    return WallClock(tmp_path / "clock")


# -- the collector as a program -----------------------------------------------------------

TOKEN = "t0ken-nobody-may-see"
SCOPE = {
    "GITHUB_REPOSITORY": "my-org/my-repo",
    "GITHUB_WORKFLOW": "ci.yml",
    "GITHUB_JOB": "build",
    "GITHUB_RUN_ID": "run-123",
}
PROGRAM = (sys.executable, "-I", "-m", "runmeter.collector", "--interval=100ms")


class Done:
    """A collector that has ended."""

    def __init__(self, code: int, output: str, errors: str) -> None:
        self.code, self.output, self.errors = code, output, errors
        self.lines = [json.loads(line) for line in errors.splitlines() if line.startswith("{")]

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return the log lines of an event."""
        return [line for line in self.lines if line.get("event") == name]

    @property
    def event_names(self) -> list[str]:
        """Return the events of the log, without the ticks that a busy machine missed."""
        missed = "could not be taken in time"
        lines = [line for line in self.lines if missed not in str(line.get("reason", ""))]
        return [line["event"] for line in lines if "event" in line]

    @property
    def payload(self) -> dict[str, Any]:
        """Return the payload printed among the log lines, as around a command."""
        [found] = [line for line in self.lines if "event" not in line]
        return dict(found)


class Collector:
    """Starts collectors in a folder and an environment of their own."""

    program = PROGRAM
    token = TOKEN

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.spool = folder / ".local" / "state" / "runmeter"
        self.environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "LC_ALL": "C"}
        self._started: list[Any] = []

    def pushing(self, endpoint: str, token: str = TOKEN) -> None:
        """Set the variables that a push needs."""
        pushing = {"COLLECTOR_PUSH_ENDPOINT": endpoint, "COLLECTOR_PUSH_TOKEN": token}
        self.environment.update({**SCOPE, **pushing})

    def start(self, *argv: str, before: tuple[str, ...] = (), **settings: Any) -> Any:
        """Start a collector."""
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **settings}
        process = subprocess.Popen(
            [*before, *PROGRAM, *argv], env=self.environment, cwd=self.folder, text=True,
            stdin=subprocess.DEVNULL, **pipes,
        )  # fmt: skip
        self._started.append(process)
        return process

    def stop(self) -> None:
        """Kill the collectors that a failed test left running."""
        for process in self._started:
            process.kill()
            process.wait()
            for pipe in (process.stdout, process.stderr):  # what it started may still hold them
                if pipe is not None:
                    pipe.close()

    def __call__(self, *argv: str, **settings: Any) -> Done:
        """Run a collector to its end."""
        return self.end(self.start(*argv, **settings))

    @staticmethod
    def end(process: Any, read: str = "") -> Done:
        """Wait for the end of a collector; ``read``: what was read of its log already."""
        output, errors = process.communicate(timeout=WAIT_SECONDS)
        return Done(process.returncode, output, read + errors)

    @staticmethod
    def until_started(process: Any) -> str:
        """Read the log up to the line that says the run has started."""
        read = ""
        for line in process.stderr:
            read += line
            if "run.started" in line:
                return read
        raise AssertionError(read)


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[Collector]:
    """Return the starter of collectors; they have a home folder of their own."""
    collector = Collector(tmp_path)
    yield collector
    collector.stop()


# -- doubles of receiver and gateway ------------------------------------------------------


class Certificate(NamedTuple):
    """A self-signed certificate of localhost, which is its own CA, and its key."""

    cert: Path
    key: Path


class Push(NamedTuple):
    """One push as it arrived: a message, or a JSON document."""

    run: Any
    authorization: str | None


class Receiver(ingest_service_pb2_grpc.IngestServiceServicer):
    """Answers PushRun with what ``answer`` returns."""

    def __init__(self) -> None:
        self.pushes: queue.Queue[Push] = queue.Queue()
        self.answer: Callable[[grpc.ServicerContext], Any] = self.acknowledge
        self.endpoint = ""
        self.release = threading.Event()

    @staticmethod
    def acknowledge(context: grpc.ServicerContext) -> ingest_service_pb2.PushRunResponse:
        """Acknowledge the run as id 7."""
        return ingest_service_pb2.PushRunResponse(id=7)

    def PushRun(self, request: Any, context: Any) -> Any:
        """Record the push and answer it."""
        metadata = dict(context.invocation_metadata())
        self.pushes.put(Push(request.run, metadata.get("authorization")))
        return self.answer(context)


class Gateway(ThreadingHTTPServer):
    """Answers every request with ``status``, ``headers`` and ``body``."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.endpoint = ""
        self.pushes: queue.Queue[Push] = queue.Queue()
        self.status = 201
        self.headers: dict[str, str] = {}
        self.body = b'{"id":7,"duplicate":false}'


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Gateway

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.pushes.put(Push(json.loads(body), self.headers["Authorization"]))
        self.send_response(self.server.status)
        for name, value in {
            "Content-Length": str(len(self.server.body)),
            **self.server.headers,
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(self.server.body)

    do_GET = do_POST

    def log_message(self, *args: Any) -> None:
        """Write no log."""


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> tuple[Certificate, Certificate]:
    """Return two independent certificates of localhost."""
    folder = tmp_path_factory.mktemp("tls")
    made = []
    for name in ("ours", "other"):
        certificate = Certificate(folder / f"{name}.pem", folder / f"{name}.key")
        subprocess.run(
            ["openssl", "req", "-x509", "-nodes", "-days", "2", "-subj", f"/CN={name}",
             "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
             "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
             "-keyout", certificate.key, "-out", certificate.cert],
            check=True, capture_output=True,
        )  # fmt: skip
        made.append(certificate)
    return made[0], made[1]


@pytest.fixture
def new_receiver() -> Iterator[Callable[..., Receiver]]:
    """Return the maker of receivers.

    With a certificate they speak TLS; with a CA they require a client certificate of it.
    """
    with ThreadPoolExecutor(4) as threads:
        servers = []

        def make(certificate: Certificate | None = None, client_ca: Path | None = None) -> Receiver:
            receiver, server = Receiver(), grpc.server(threads)
            ingest_service_pb2_grpc.add_IngestServiceServicer_to_server(receiver, server)
            if certificate is None:
                receiver.endpoint = f"grpc://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
            else:
                credentials = grpc.ssl_server_credentials(
                    [(certificate.key.read_bytes(), certificate.cert.read_bytes())],
                    root_certificates=client_ca.read_bytes() if client_ca else None,
                    require_client_auth=client_ca is not None,
                )
                port = server.add_secure_port("127.0.0.1:0", credentials)
                receiver.endpoint = f"grpcs://localhost:{port}"
            server.start()
            servers.append(server)
            return receiver

        yield make
        for server in servers:
            server.stop(None).wait()


@pytest.fixture
def receiver(new_receiver: Callable[..., Receiver]) -> Receiver:
    """Return a receiver without TLS that acknowledges every push."""
    return new_receiver()


@pytest.fixture
def held(receiver: Receiver) -> Iterator[Receiver]:
    """Return the receiver; it answers when ``release`` is set, at the latest after the test."""

    def answer(context: grpc.ServicerContext) -> Any:
        receiver.release.wait(WAIT_SECONDS)
        return receiver.acknowledge(context)

    receiver.answer = answer
    yield receiver
    receiver.release.set()


@pytest.fixture
def new_gateway() -> Iterator[Callable[..., Gateway]]:
    """Return the maker of gateways; with a certificate they speak TLS."""
    gateways = []

    def make(certificate: Certificate | None = None) -> Gateway:
        gateway = Gateway()
        gateway.endpoint = f"http://127.0.0.1:{gateway.server_port}"
        if certificate is not None:
            gateway.endpoint = f"https://localhost:{gateway.server_port}"
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            gateway.socket = context.wrap_socket(gateway.socket, server_side=True)
        threading.Thread(target=gateway.serve_forever, args=(0.01,), daemon=True).start()
        gateways.append(gateway)
        return gateway

    yield make
    for gateway in gateways:
        gateway.shutdown()
        gateway.server_close()


@pytest.fixture
def gateway(new_gateway: Callable[..., Gateway]) -> Gateway:
    """Return a gateway without TLS that acknowledges every push."""
    return new_gateway()
