"""deploy/systemd: units that systemd understands, hardened, and true to the programs."""

import re
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme
from rig import units
from rig.documents import fences
from rig.programs import BIN, Program, Stage
from rig.repository import ROOT
from rig.stack import Scope, bearer
from rig.units import FOLDER, INSTALLED, Machine, Unit, nobody

from runmeter.gateway import settings as gateway_settings
from runmeter.receiver import settings as receiver_settings

pytestmark = pytest.mark.slow

SERVICES = ("runmeter-receiver.service", "runmeter-gateway.service", "runmeter-push@.service")
UNITS = sorted(path.name for path in FOLDER.iterdir() if path.suffix in (".service", ".timer"))
RECEIVER, GATEWAY = (Unit(name) for name in SERVICES[:2])
SETTINGS: dict[str, tuple[Unit, dict[str, Any]]] = {
    "receiver": (RECEIVER, {one.name: one.default for one in receiver_settings.SETTINGS}),
    "gateway": (GATEWAY, {one.name: one.default for one in gateway_settings.SETTINGS}),
}
EXPOSURE = "15"  # 1.5 of 10, the lower the better
DOCUMENT = ROOT / "docs" / "bare-machines.md"
SPOOL = "/var/lib/runmeter-spool"
NOWHERE = "grpc://127.0.0.1:9"
needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="needs systemd-analyze"
)

# -- what is written ----------------------------------------------------------------------


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Ask systemd-analyze, which needs no systemd that runs."""
    line = ["systemd-analyze", *arguments]
    return subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)


def copies(folder: Path, pattern: str = "", replacement: str = "") -> list[Path]:
    """Write the units, for programs that are here; with a change, if wanted."""
    found = []
    for name in UNITS:
        text = (FOLDER / name).read_text().replace(INSTALLED, str(BIN))
        path = folder / name
        path.write_text(re.sub(pattern, replacement, text, flags=re.M) if pattern else text)
        found.append(path)
    return found


@needs_systemd
def test_units_are_understood(tmp_path: Path) -> None:
    """Systemd has nothing to say about any unit; of a misspelt setting it has."""
    assert len(UNITS) == 4
    done = analyze("verify", *copies(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    wrong = analyze("verify", *copies(tmp_path, "^DynamicUser", "DynamicUsers"))
    assert "DynamicUsers" in wrong.stderr


@needs_systemd
@pytest.mark.parametrize("name", SERVICES)
def test_hardened(name: str, tmp_path: Path) -> None:
    """Systemd's own measure of what a service could do is low; without the settings it is not."""
    line = ("security", "--offline=yes", f"--threshold={EXPOSURE}", "--no-pager")
    copies(tmp_path)
    done = analyze(*line, tmp_path / name)
    assert done.returncode == 0, done.stdout
    copies(tmp_path, "^(Protect|Restrict|SystemCall).*", "")
    assert analyze(*line, tmp_path / name).returncode != 0


@pytest.mark.parametrize("name", SERVICES)
def test_no_privilege(name: str) -> None:
    """No service is root, can become it, has a capability, or a secret in its text."""
    unit = Unit(name)
    assert unit.value("CapabilityBoundingSet") == ""
    assert unit.value("NoNewPrivileges") == "yes"
    assert unit.value("ProtectSystem") == "strict"
    assert unit.values("DynamicUser") == ["yes"] or unit.value("User") != "root"
    for variable in unit.values("Environment"):
        assert not re.search("TOKEN=|KEY=", variable), variable


@pytest.mark.parametrize("service", SETTINGS)
def test_time_to_end(service: str) -> None:
    """Systemd waits for longer than the program takes at most."""
    unit, defaults = SETTINGS[service]
    budget = int(defaults["shutdown_timeout"].removesuffix("s"))
    assert int(unit.value("TimeoutStopSec").removesuffix("s")) >= budget + 5


@pytest.mark.parametrize("service", SETTINGS)
def test_settings_exist(service: str) -> None:
    """Every variable is one of the program, with its ports, on loopback only."""
    unit, defaults = SETTINGS[service]
    written = dict(line.split("=", 1) for line in unit.values("Environment"))
    prefix = f"{service.upper()}_"
    assert {name.removeprefix(prefix).lower() for name in written} <= defaults.keys()
    for name in ("addr", "ops_addr"):
        assert written[f"{prefix}{name.upper()}"] == f"127.0.0.1{defaults[name]}"


def test_the_timer_starts_the_push() -> None:
    """A timer without a name of a unit starts the service that is called as it is."""
    timer = Unit("runmeter-push@.timer")
    assert timer.values("Unit", "Timer") == []
    assert timer.value("OnUnitActiveSec", "Timer") == "1h"
    assert timer.value("WantedBy", "Install") == "timers.target"


# -- run ----------------------------------------------------------------------------------


@pytest.fixture
def machine(tmp_path: Path, stage: Stage) -> Machine:
    """A machine with the secrets and settings of an administrator; ports are free ones."""
    if reason := units.missing():
        pytest.skip(reason)
    machine = Machine(tmp_path / "machine")
    for name in ("read-token", "hmac-key"):
        machine.write(f"/etc/runmeter/{name}", f"{stage.secret()}\n")
    for name in ("receiver", "gateway"):
        prefix = name.upper()
        lines = [f"{prefix}_{key}=127.0.0.1:0" for key in ("ADDR", "OPS_ADDR")]
        machine.write(f"/etc/runmeter/{name}.env", "\n".join(lines))
    return machine


def start(stage: Stage, unit: Unit, machine: Machine) -> Program:
    """Start a service as its unit says, as a user without privileges."""
    line = [*nobody(), *unit.command("ExecStart")]
    program: Program = stage.start(*line, environment=unit.enter(machine))
    return program


def reload(program: Program, unit: Unit) -> None:
    """Tell a service to reload, as its unit says."""
    subprocess.run(unit.command("ExecReload", program.process.pid), check=True, timeout=10)


def served(stage: Stage, machine: Machine) -> tuple[Program, Program, str, str]:
    """Start both services; return them, the receiver's address and the gateway's URL."""
    receiver = start(stage, RECEIVER, machine)
    address = receiver.event("server.started")["address"]
    with machine.path("/etc/runmeter/gateway.env").open("a") as file:
        file.write(f"\nGATEWAY_RECEIVER=grpc://{address}\n")
    gateway = start(stage, GATEWAY, machine)
    return receiver, gateway, address, f"http://{gateway.event('server.started')['address']}"


def minted(stage: Stage, machine: Machine, url: str, scope: Scope) -> str:
    """Mint a push token with the read token of the machine."""
    answer = httpx.post(
        f"{url}/api/v1/token", json=scope._asdict(), headers=reading(machine), trust_env=False
    )
    assert answer.status_code == 200, answer.text
    return stage.keep(answer.json()["token"])


def reading(machine: Machine) -> dict[str, str]:
    """Return the header with the machine's read token."""
    return bearer(machine.path("/etc/runmeter/read-token").read_text().strip())


def listed(machine: Machine, url: str, scope: Scope) -> list[dict[str, Any]]:
    """Return the runs of a scope."""
    answer = httpx.get(f"{url}{scope.path}", headers=reading(machine), trust_env=False)
    found: list[dict[str, Any]] = answer.json()
    return found


def kept(stage: Stage, machine: Machine, scope: Scope, token: str) -> dict[str, str]:
    """Leave a run in the machine's spool, by a job without receiver; return its environment."""
    environment = {**scope.environment(token), "COLLECTOR_SPOOL_DIR": str(machine.path(SPOOL))}
    line = (f"--push-endpoint={NOWHERE}", "--shutdown-timeout=1s", "--", "true")
    assert stage.start("collector", *line, environment=environment).wait() == 0
    return environment


def capabilities(program: Program) -> str:
    """Return what the kernel would let a process do beyond its user: a number, in hex."""
    status = Path(f"/proc/{program.process.pid}/status").read_text()
    return re.findall(r"^CapEff:\s*(\w+)$", status, re.M)[0].lstrip("0")


def test_services(stage: Stage, machine: Machine, scope: Scope) -> None:
    """Both run without a privilege from their units alone, reload, and end on request."""
    receiver, gateway, address, url = served(stage, machine)
    assert capabilities(receiver) == capabilities(gateway) == ""
    database = machine.path("/var/lib/runmeter/metrics.db")
    assert database.exists()
    token = minted(stage, machine, url, scope)
    collector = stage.start(
        "collector",
        *(f"--push-endpoint=grpc://{address}", "--", "true"),
        environment=scope.environment(token),
    )
    assert collector.wait() == 0
    assert [run["exit_code"] for run in listed(machine, url, scope)] == [0]

    copy = machine.path("/run/credentials/runmeter-receiver.service/hmac-key")
    copy.chmod(0o600)  # what systemd does where it renews the copies
    copy.write_text(f"{stage.secret()}\n{copy.read_text()}")
    reload(receiver, RECEIVER)
    assert receiver.event("secrets.reread")["changed"] == ["hmac_keys"]
    reload(gateway, GATEWAY)
    gateway.event("certificates.reread")
    assert minted(stage, machine, url, scope) != token
    for program, unit in ((gateway, GATEWAY), (receiver, RECEIVER)):
        assert unit.values("KillSignal") == []
        assert program.stop(signal.SIGTERM) == 0


@pytest.mark.parametrize("service", SETTINGS)
def test_a_setting_that_cannot_be_used(service: str, stage: Stage, machine: Machine) -> None:
    """A bad line in the administrator's file ends the service, and systemd does not try again."""
    unit, _ = SETTINGS[service]
    machine.write(f"/etc/runmeter/{service}.env", f"{service.upper()}_SHUTDOWN_TIMEOUT=soon")
    code = start(stage, unit, machine).wait()
    assert unit.value("Restart") == "on-failure"
    assert str(code) == unit.value("RestartPreventExitStatus")


def test_what_waits_is_pushed(stage: Stage, machine: Machine, scope: Scope) -> None:
    """The push delivers the runs of its job, leaves those of others, and fails without receiver."""
    _, _, address, url = served(stage, machine)
    other = scope._replace(job="other")
    for one in (scope, other):
        token = minted(stage, machine, url, one)
        machine.write(f"/etc/runmeter/push-tokens/{one.job}", f"{token}\n")
        kept(stage, machine, one, token)

    def push(job: str, endpoint: str) -> int:
        lines = f"COLLECTOR_PUSH_ENDPOINT={endpoint}\nCOLLECTOR_TIMEOUT=2s\n"
        machine.write("/etc/runmeter/collector.env", lines)
        return start(stage, Unit("runmeter-push@.service", job), machine).wait()

    good = [0, int(Unit("runmeter-push@.service").value("SuccessExitStatus"))]
    assert push(scope.job, NOWHERE) not in good
    assert push(scope.job, f"grpc://{address}") in good
    assert (len(listed(machine, url, scope)), listed(machine, url, other)) == (1, [])
    assert push(other.job, f"grpc://{address}") == 0
    assert len(listed(machine, url, other)) == 1
    assert list(machine.path(SPOOL).glob("*.json")) == []


def test_tls_as_documented(stage: Stage, machine: Machine, scope: Scope) -> None:
    """The drop-in of the documents makes the receiver serve with the certificate alone."""
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    machine.write("/etc/runmeter/tls-key.pem", issued.private_key_pem.bytes().decode())
    chain = "".join(blob.bytes().decode() for blob in issued.cert_chain_pems)
    machine.write("/etc/runmeter/tls-cert.pem", chain)
    machine.write("/etc/runmeter/ca.pem", authority.cert_pem.bytes().decode())
    unit = Unit(SERVICES[0])
    (drop_in,) = (f.text for f in fences(DOCUMENT.read_text()) if f.language == "ini")
    unit.add(drop_in)
    address = start(stage, unit, machine).event("server.started")["address"]
    port = address.rpartition(":")[2]
    for scheme, code in (("grpcs", 4), ("grpc", 3)):  # an unknown token; no server
        collector = stage.start(
            "collector",
            "push",
            *(f"--push-endpoint={scheme}://localhost:{port}", "--timeout=2s"),
            *((f"--tls-ca={machine.path('/etc/runmeter/ca.pem')}",) if code == 4 else ()),
            environment=kept(stage, machine, scope, stage.keep("ab" * 32)),
        )
        assert collector.wait() == code, collector.text


def test_a_unit_starts_what_the_documents_install() -> None:
    """The page installs the programs where the units look for them."""
    text = DOCUMENT.read_text()
    assert str(Path(INSTALLED).parent) in text
    for name in UNITS:
        assert name in text or name.replace("@", "@build") in text
