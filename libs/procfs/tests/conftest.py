"""Recordings as a fixture, hypothesis profiles, and how many property cases ran."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import settings

from runmeter.procfs import ProcFS

RECORDINGS = Path(__file__).with_name("recordings")

settings.register_profile("ci", max_examples=200, derandomize=True, deadline=None)
settings.register_profile("soak", max_examples=2000, deadline=None, database=None)


class Recording(NamedTuple):
    """One recorded machine, and what is known of it from elsewhere."""

    folder: Path
    origin: dict[str, Any]
    expected: dict[str, dict[str, Any]]

    @property
    def procfs(self) -> ProcFS:
        """The reader, with the page size and tick rate of the recording."""
        return ProcFS(
            str(self.folder / "proc"), self.origin["page_size"], self.origin["ticks_per_second"]
        )

    def cgroup_file(self, path: str, name: str) -> bytes:
        """Return the content of a cgroup's file; ``name`` may begin with a v1 hierarchy."""
        hierarchy, _, file = name.rpartition("/")
        return (self.folder / "cgroup" / hierarchy / path.strip("/") / file).read_bytes()


def read_recording(name: str) -> Recording:
    """Return one recording."""
    folder = RECORDINGS / name
    return Recording(
        folder,
        json.loads((folder / "origin.json").read_text()),
        json.loads((folder / "expected.json").read_text())["processes"],
    )


def pytest_configure(config: pytest.Config) -> None:
    """Use the profile of CI unless ``--hypothesis-profile=soak`` asks for the long one."""
    if not config.getoption("--hypothesis-profile", None):
        settings.load_profile("ci")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that asks for ``recording`` on all; ids say captured or constructed."""
    if "recording" in metafunc.fixturenames:
        recordings = [read_recording(p.parent.name) for p in RECORDINGS.glob("*/origin.json")]
        recordings.sort()
        ids = [f"{r.folder.name}-{r.origin['how']}" for r in recordings]
        metafunc.parametrize("recording", recordings, ids=ids)


@pytest.fixture
def recorded() -> Callable[[str], Recording]:
    """Return a reader of one recording by name."""
    return read_recording
