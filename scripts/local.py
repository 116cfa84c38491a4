"""Runmeter on one machine: ``demo`` shows the whole way of one run, ``up`` keeps it running.

Standard library only, apart from the table, which is the collector's own.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import secrets
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from runmeter.collector.display.run import table

PROGRAMS = Path(sys.executable).parent
START_SECONDS = 20
STOP_SECONDS = 30
OURS = ("COLLECTOR_", "RECEIVER_", "GATEWAY_", "CGROUP_", "GITHUB_")
WORKLOAD_SECONDS = 11
SCOPE = {"organization": "my-org", "repository": "my-repo", "workflow": "ci.yml", "job": "build"}


def clean_environment() -> dict[str, str]:
    """Return the environment without what configures our programs: the flags here say it all."""
    return {name: value for name, value in os.environ.items() if not name.startswith(OURS)}


class Failure(Exception):
    """Something did not work; its text says what and shows the log."""


class Service:
    """A running receiver or gateway; ``address`` is where it really listens."""

    def __init__(self, name: str, arguments: list[str], log: Path) -> None:
        self.name = name
        self.log = log
        self._file = log.open("ab")  # another one may be running on it
        self._start_bytes = log.stat().st_size
        self.process = subprocess.Popen(
            [str(PROGRAMS / name), *arguments, "--log-format=json"],
            stdin=subprocess.DEVNULL,
            env=clean_environment(),
            stderr=self._file,
            start_new_session=True,  # Ctrl-C reaches this script, which stops them in order
        )
        self.address = self._await_start()

    def _await_start(self) -> str:
        until = time.monotonic() + START_SECONDS
        while time.monotonic() < until:
            for line in self._lines():
                with contextlib.suppress(ValueError):
                    fields = json.loads(line)
                    if fields.get("event") == "server.started":
                        return str(fields["address"])
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        self._end()
        said = self.tail().replace("another --addr", f"another {self.name.upper()}_ADDR")
        raise Failure(f"{self.name} did not start:\n{said}")

    def _lines(self) -> list[str]:
        """Return what this process has logged."""
        return self.log.read_bytes()[self._start_bytes :].decode(errors="replace").splitlines()

    def tail(self) -> str:
        """Return the end of the log."""
        return "\n".join(self._lines()[-15:])

    def stop(self) -> None:
        """End it gracefully, or by force if it does not; say so if it ends with an error."""
        code = self._end()
        if code:
            print(f"{self.name} ended with {code}:\n{self.tail()}", file=sys.stderr)

    def _end(self) -> int:
        self.process.terminate()
        try:
            code = self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        self._file.close()
        return code


@contextlib.contextmanager
def services(
    folder: Path, database: Path, receiver_address: str, gateway_address: str
) -> Iterator[tuple[Service, Service]]:
    """Run receiver and gateway; secrets lie in the folder, readable by its owner only."""
    receiver = Service(
        "receiver",
        [
            f"--addr={receiver_address}",
            "--ops-addr=none",
            f"--db={database}",
            f"--read-token-file={secret(folder / 'read-token')}",
            f"--hmac-key-file={secret(folder / 'hmac-key')}",
        ],
        folder / "receiver.log",
    )
    try:
        gateway = Service(
            "gateway",
            [
                f"--addr={gateway_address}",
                "--ops-addr=none",
                f"--receiver=grpc://{receiver.address}",
            ],
            folder / "gateway.log",
        )
        try:
            yield receiver, gateway
        finally:
            gateway.stop()
    finally:
        receiver.stop()


def secret(path: Path) -> Path:
    """Make a random secret on first use; return its file."""
    with contextlib.suppress(FileExistsError):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        os.write(descriptor, secrets.token_hex(32).encode() + b"\n")
        os.close(descriptor)
    return path


def call(url: str, bearer: str, body: dict[str, Any] | None = None) -> Any:
    """Send one REST request; return its JSON."""
    request = urllib.request.Request(
        url,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {bearer}", "Content-Type": "application/json"},
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=20) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        raise Failure(
            f"{url}: HTTP {error.code}: {error.read().decode(errors='replace')}"
        ) from error
    except OSError as error:
        raise Failure(f"{url}: {error}") from error


# -- demo ---------------------------------------------------------------------------------


def demo() -> None:
    """Mint a token, measure a workload, push it, query it in both path forms, show it."""
    with tempfile.TemporaryDirectory(prefix="runmeter-demo-") as name:
        folder = Path(name)
        with services(folder, folder / "demo.db", "127.0.0.1:0", "127.0.0.1:0") as running:
            receiver, gateway = running
            print(f"receiver (gRPC) on {receiver.address}, gateway (REST) on {gateway.address}")
            base = f"http://{gateway.address}/api/v1"
            read_token = (folder / "read-token").read_text().strip()
            token = call(f"{base}/token", read_token, SCOPE)["token"]
            print(f"minted a push token for {json.dumps(SCOPE)}")
            measure(folder, receiver.address, token)
            record = fetch(base, read_token)
        check(record)
    print("\nGET /api/v1/metrics/repo/my-org/my-repo/ci.yml/build\n")
    print(json.dumps([record], indent=2))
    print("\nthe same, for a person:\n")
    print(table(record["payload"]))


def measure(folder: Path, address: str, token: str) -> None:
    """Run the collector around the workload; it pushes by gRPC."""
    (folder / "push-token").write_text(token)
    environment = {
        **clean_environment(),
        "GITHUB_REPOSITORY_OWNER": "my-org",
        "GITHUB_REPOSITORY": "my-org/my-repo",
        "GITHUB_WORKFLOW": "ci.yml",
        "GITHUB_JOB": "build",
        "GITHUB_RUN_ID": "run-123",
        "CGROUP_LIMITS": '{"command":{"cpu":"2","memory":"1Gi"}}',
        "COLLECTOR_PUSH_TOKEN_FILE": str(folder / "push-token"),
    }
    collector = [
        str(PROGRAMS / "collector"),
        "--interval=1s",
        f"--push-endpoint=grpc://{address}",
        f"--spool-dir={folder / 'spool'}",
    ]
    command = [sys.executable, "-I", __file__, "workload"]
    print(f"measuring a workload for about {WORKLOAD_SECONDS} s ...", flush=True)
    done = subprocess.run(
        [*collector, "--", *command], env=environment, capture_output=True, text=True, timeout=120
    )
    if done.returncode or '"run.pushed"' not in done.stderr:
        raise Failure(f"the collector ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    print(done.stdout.strip())
    print(done.stderr.strip().splitlines()[-1])


def fetch(base: str, read_token: str) -> Any:
    """Query the run in both forms of the path; they must answer the same."""
    answers = [
        call(f"{base}/metrics/repo/my-org/{repository}/ci.yml/build", read_token)
        for repository in ("my-repo", "my-org/my-repo", "my-org%2Fmy-repo")
    ]
    if not answers[0] or any(answer != answers[0] for answer in answers):
        raise Failure(f"the forms of the path answer differently: {json.dumps(answers)}")
    return answers[0][0]


def check(record: dict[str, Any]) -> None:
    """See that the record says what the workload did."""
    payload = record["payload"]
    found = [c for c in payload["containers"] if c["name"] == "command"]
    if record["run_id"] != "run-123" or record["exit_code"] != 0 or not found:
        raise Failure(f"the record is not that of the workload: {json.dumps(record)}")
    if found[0]["cpu_seconds"] < 1 or found[0]["memory_bytes"]["peak"] < 64 << 20:
        raise Failure(f"the workload used more than the record says: {json.dumps(found[0])}")


def workload() -> None:
    """Be a small build: hundreds of short processes, and a few long ones beside them."""
    until = time.monotonic() + WORKLOAD_SECONDS
    busy = "import time; end = time.process_time() + 4\nwhile time.process_time() < end: pass"
    holding = f"import time; kept = bytearray(64 << 20); time.sleep({WORKLOAD_SECONDS - 1})"
    long = [subprocess.Popen([sys.executable, "-I", "-S", "-c", code]) for code in (busy, holding)]
    short_count = 0
    while time.monotonic() < until:
        subprocess.run(["sh", "-c", "i=0; while [ $i -lt 3000 ]; do i=$((i+1)); done"], check=True)
        short_count += 1
        time.sleep(0.01)
    for process in long:
        process.wait()
    print(f"the workload ran {short_count} short processes and {len(long)} long ones")


# -- up -----------------------------------------------------------------------------------

WALK_THROUGH = """
Runmeter is up: receiver (gRPC) on {receiver}, gateway (REST) on {gateway}.
Runs are kept in {database}, logs and secrets in {folder}. Ctrl-C stops both.
RECEIVER_ADDR and GATEWAY_ADDR choose other addresses.

In another terminal, in this folder:

# 1. mint a push token for one job
PUSH_TOKEN=$(curl -s -X POST http://{gateway}/api/v1/token \\
  -H "Authorization: Bearer $(cat {folder}/read-token)" \\
  -H "Content-Type: application/json" \\
  -d '{scope}' \\
  | {python} -c 'import json, sys; print(json.load(sys.stdin)["token"])')

# 2. measure a command (without a command: every visible process, until SIGTERM)
export GITHUB_REPOSITORY_OWNER=my-org GITHUB_REPOSITORY=my-org/my-repo
export GITHUB_WORKFLOW=ci.yml GITHUB_JOB=build GITHUB_RUN_ID=run-123
COLLECTOR_PUSH_TOKEN=$PUSH_TOKEN {collector} --interval=2s --top=10 \\
  --push-endpoint=grpc://{receiver} -- sleep 5

# 3. query it
curl -s -H "Authorization: Bearer $(cat {folder}/read-token)" \\
  http://{gateway}/api/v1/metrics/repo/my-org/my-repo/ci.yml/build
"""


def up(folder: Path) -> None:
    """Run both services until a signal; print the walk-through."""
    folder.mkdir(mode=0o700, exist_ok=True)
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    receiver_address = os.environ.get("RECEIVER_ADDR", "127.0.0.1:50051")
    gateway_address = os.environ.get("GATEWAY_ADDR", "127.0.0.1:8080")
    database = folder / "metrics.db"
    with services(folder, database, receiver_address, gateway_address) as running:
        receiver, gateway = running
        print(
            WALK_THROUGH.format(
                receiver=receiver.address,
                gateway=gateway.address,
                database=database,
                folder=folder,
                scope=json.dumps(SCOPE),
                python=shlex.quote(os.path.relpath(sys.executable)),
                collector=shlex.quote(os.path.relpath(PROGRAMS / "collector")),
            ),
            flush=True,
        )
        while not ended.wait(0.5):
            for service in running:
                if service.process.poll() is not None:
                    raise Failure(f"{service.name} has ended:\n{service.tail()}")


def main() -> int:
    """Run one of the commands; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("command", choices=("demo", "up", "workload"))
    command = parser.parse_args().command
    try:
        if command == "demo":
            demo()
        elif command == "up":
            up(Path(".runmeter"))
        else:
            workload()
    except Failure as error:
        print(f"{command} failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{command} interrupted", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
