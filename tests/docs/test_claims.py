"""What documents say about other files: figures, files and methods."""

import re

import pytest
from rig.repository import ROOT, committed_files

PERFORMANCE = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
COMPARISON = (ROOT / "docs" / "comparison.md").read_text(encoding="utf-8")
TOLERANCE = 0.25  # benchmarks of different days differ by this much
FIGURE = re.compile(r"[\u2212-]?\d+(?:\.\d+)?")


def row(text: str, first: str) -> list[str]:
    """Return the cells of the table's row that begins with a text."""
    line = next(line for line in text.splitlines() if line.startswith(f"| {first} |"))
    return [cell.strip() for cell in line.strip("|").split("|")][1:]


def figure(text: str) -> float:
    """Return the first number of a cell."""
    found = FIGURE.search(text)
    assert found is not None, text
    return float(found[0].replace("\u2212", "-"))


def test_cost_of_a_look() -> None:
    """What one snapshot of 500 processes costs psutil, process-exporter and the collector."""
    psutil, exporter, *_, ours = row(COMPARISON, "CPU of one snapshot at 500 processes")
    measured = row(PERFORMANCE, "500")
    for told, cell in zip((ours, psutil, exporter), measured[:3], strict=True):
        assert figure(told) == pytest.approx(figure(cell), rel=TOLERANCE)


def test_error_on_a_build() -> None:
    """How wrong adding up what is in sight is on `make -j4`, and how wrong the collector is."""
    naive, *_, ours = row(COMPARISON, "error on `make -j4` at 2 s")
    _, measured_naive, measured_ledger, measured_counters, *_ = row(
        PERFORMANCE, "`make -j4`, small files"
    )
    assert figure(naive) == pytest.approx(at_two_seconds(measured_naive), abs=1)
    ledger, counters = FIGURE.findall(ours)
    assert figure(ledger) == pytest.approx(at_two_seconds(measured_ledger), abs=0.1)
    assert figure(counters) == pytest.approx(at_two_seconds(measured_counters), abs=0.01)


def at_two_seconds(cell: str) -> float:
    """Return the third of the figures at the intervals 0.5 s, 1 s, 2 s, 5 s."""
    return figure(cell.split("/")[2])


@pytest.mark.parametrize("document", ["CONTRIBUTING.md", "README.md", "docs/architecture.md"])
def test_named_files_are_there(document: str) -> None:
    """Every file and folder that a document names exists, at the root or in a package."""
    text = re.sub(r"```.*?```", "", (ROOT / document).read_text(encoding="utf-8"), flags=re.DOTALL)
    code = " ".join(re.findall(r"`([^`]+)`", text))
    name = r"(?:[\w-]+/)*(?:[\w-]+\.(?:py|md|json|proto|toml)|[\w-]+/)"
    named = set(re.findall(rf"(?<![\w./*<>-]){name}(?![\w<*])", code))
    named -= {"src/runmeter/procfs/uptime.py", "tests/test_uptime.py", "proc_x.py"}  # examples
    known = [f"/{path.relative_to(ROOT)}" for path in committed_files()]
    assert len(named) > 12
    assert [one for one in sorted(named) if not any(f"/{one}" in path for path in known)] == []


def test_contract_has_every_method() -> None:
    """The table of docs/contract.md names every method of the contract, and no other."""
    text = (ROOT / "docs" / "contract.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \|", text, re.MULTILINE)
    told = {f"{service}.{method}" for service, cell in rows for method in re.findall(r"\w+", cell)}
    contract = "\n".join(path.read_text() for path in (ROOT / "proto/runmeter/v1").glob("*.proto"))
    services = re.findall(r"^service (\w+) \{\n(.*?)^\}", contract, re.MULTILINE | re.DOTALL)
    assert told == {
        f"{service}.{method}"
        for service, body in services
        for method in re.findall(r"^  rpc (\w+)\(", body, re.MULTILINE)
    }
