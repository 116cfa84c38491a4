"""What benchmarks find: tables and claims, printed and written as Markdown."""

import os
import platform
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple


class Claim(NamedTuple):
    """A target: ``value`` is met if it is not above ``limit``; ``shown``: both, for a reader."""

    text: str
    value: float
    limit: float
    shown: str

    @property
    def is_met(self) -> bool:
        """Whether the target was reached in this run."""
        return self.value <= self.limit


def at_least(text: str, value: float, least: float) -> Claim:
    """Return a target that is met if ``value`` is not below ``least``."""
    return Claim(text, -value, -least, f"{value:.2f}")


class Result(NamedTuple):
    """What one benchmark found."""

    title: str
    method: str
    header: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    claims: tuple[Claim, ...] = ()
    notes: tuple[str, ...] = ()

    def markdown(self) -> str:
        """Return title, method, table, targets and notes."""
        parts = [f"## {self.title}", self.method]
        if self.rows:
            parts.append(_table(self.header, self.rows))
        if self.claims:
            parts.append(_table(("target", "measured", ""), [_claim(c) for c in self.claims]))
        parts += self.notes
        return "\n\n".join(parts) + "\n"


def _claim(claim: Claim) -> tuple[str, str, str]:
    return claim.text, claim.shown, "met" if claim.is_met else "**missed**"


def _table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [header, ("---",) * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def machine() -> str:
    """Describe machine, date and versions in one sentence."""
    model = "unknown CPU"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(": ")[2]
            break
    return (
        f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores ({model}), "
        f"Linux {platform.release()}, Python {platform.python_version()}, psutil {_psutil()}, "
        f"commit {_commit()}"
    )


def _psutil() -> str:
    from importlib.metadata import version

    return version("psutil")


def _commit() -> str:
    done = subprocess.run(
        ["git", "rev-parse", "--short=12", "HEAD"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip() or "unknown"


def show(result: Result) -> None:
    """Print one result with the machine it was measured on."""
    print(f"{result.markdown()}\n{machine()}\n", flush=True)
