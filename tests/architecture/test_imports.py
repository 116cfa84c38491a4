"""The contracts of ``.importlinter``: kept on the tree, and each seen to break."""

import configparser
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from rig.repository import ROOT, SOURCES

# contract → module, and the import in it that breaks the contract
OFFENCES = {
    "libraries-know-no-service": ("runmeter.procfs.fields", "import runmeter.receiver.errors"),
    "libraries-independent": ("runmeter.procfs.fields", "import runmeter.v1.run_pb2"),
    "services-independent": ("runmeter.gateway.api.query", "import runmeter.receiver.errors"),
    "procfs-is-for-the-collector": ("runmeter.receiver.model", "import runmeter.procfs"),
    "generated-code-at-the-edge": ("runmeter.receiver.ingest", "from runmeter.v1 import run_pb2"),
    "grpc-at-the-edge": ("runmeter.receiver.tokens", "import grpc"),
    "tortoise-at-the-edge": ("runmeter.receiver.query", "from tortoise import Tortoise"),
    "sanic-at-the-edge": ("runmeter.gateway.schemas.api", "import sanic"),
    "prometheus-at-the-edge": ("runmeter.receiver.writer", "import prometheus_client"),
    "aiohttp-at-the-edge": ("runmeter.receiver.server", "import aiohttp"),
    "sampling-is-light": ("runmeter.collector.output", "import structlog"),
    "collector-layers": ("runmeter.collector.series", "import runmeter.collector.output"),
    "receiver-layers": ("runmeter.receiver.model", "import runmeter.receiver.query"),
    "gateway-layers": ("runmeter.gateway.schemas.api", "import runmeter.gateway.web.body"),
}


def contracts() -> dict[str, str]:
    """Return the name of every contract by its identifier."""
    parser = configparser.ConfigParser()
    parser.read(ROOT / ".importlinter")
    prefix = "importlinter:contract:"
    return {s.removeprefix(prefix): parser[s]["name"] for s in parser.sections() if prefix in s}


class Report(NamedTuple):
    """What import-linter says: its status, its verdict on each contract, what broke each."""

    status: int
    verdicts: dict[str, str]
    breaches: dict[str, str]


def lint(sources: list[Path]) -> Report:
    """Run import-linter over these source folders."""
    program = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run(
        [program, "--no-cache", "--no-logo", f"--config={ROOT / '.importlinter'}"],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": ":".join(map(str, sources)), "LANG": "C"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    verdicts = {}
    for name in contracts().values():
        for verdict in ("KEPT", "BROKEN"):
            if f"{name} {verdict}" in done.stdout:
                verdicts[name] = verdict
    assert len(verdicts) == len(contracts()), done.stdout + done.stderr
    parts = re.split(r"^(.+)\n-+$", done.stdout, flags=re.MULTILINE)
    return Report(done.returncode, verdicts, dict(zip(parts[1::2], parts[2::2], strict=True)))


def copy_sources(folder: Path) -> list[Path]:
    """Return copies of all source folders."""
    copies = []
    for source in SOURCES:
        copy = folder / source.parent.name
        shutil.copytree(source, copy, ignore=shutil.ignore_patterns("__pycache__"))
        copies.append(copy)
    return copies


@pytest.fixture
def tree(tmp_path: Path) -> list[Path]:
    """Copies of all source folders."""
    return copy_sources(tmp_path)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """What is said of a tree with all offences."""
    tree = copy_sources(tmp_path_factory.mktemp("offences"))
    for offence in OFFENCES.values():
        add_line(tree, *offence)
    return lint(tree)


def add_line(tree: list[Path], module: str, line: str) -> None:
    """Append a line to a module of the copies."""
    relative = Path(*module.split(".")).with_suffix(".py")
    (path,) = [copy / relative for copy in tree if (copy / relative).exists()]
    path.write_text(path.read_text() + f"\n{line}\n")


def test_every_contract_is_kept() -> None:
    """The packages, as they are, keep every contract."""
    found = lint(list(SOURCES))
    assert set(found.verdicts.values()) == {"KEPT"}
    assert found.status == 0


def test_every_contract_has_an_offence() -> None:
    """No contract goes without the proof that it can break."""
    assert contracts().keys() == OFFENCES.keys()


@pytest.mark.parametrize("contract", OFFENCES)
def test_contract_breaks(contract: str, report: Report) -> None:
    """One wrong import breaks the contract that forbids it, and is named there."""
    module, line = OFFENCES[contract]
    imported = re.sub(r"^(?:from|import) (\S+)(?: import (\w+_pb2))?.*", r"\1.\2", line).strip(".")
    name = contracts()[contract]
    assert report.verdicts[name] == "BROKEN"
    assert re.search(rf"{module} -> {re.escape(imported)}\b.* \(l\.\d+\)", report.breaches[name])
    assert report.status != 0


def test_contracts_break_apart(tree: list[Path]) -> None:
    """An offence breaks its own contract, not all of them: each looks at something else."""
    add_line(tree, *OFFENCES["sanic-at-the-edge"])
    verdicts = lint(tree).verdicts
    broken = [name for name, verdict in verdicts.items() if verdict == "BROKEN"]
    assert broken == [contracts()["sanic-at-the-edge"]]


def test_layers_know_every_module(tree: list[Path]) -> None:
    """A module without a place in the layers is noticed."""
    for service in ("collector", "receiver", "gateway"):
        package = next(copy for copy in tree if copy.name == service) / "runmeter" / service
        (package / "newcomer.py").write_text('"""New here."""\n')
    verdicts = lint(tree).verdicts
    layers = [name for name in verdicts if name.startswith("Imports go down only")]
    assert len(layers) == 3
    assert {verdicts[name] for name in layers} == {"BROKEN"}
