"""Scripts and golden files as fixtures."""

import json
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

PROTO = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def compatibility() -> dict[str, Any]:
    """Return the names of scripts/compatibility.py."""
    return runpy.run_path(str(PROTO / "scripts" / "compatibility.py"))


@pytest.fixture(scope="session")
def release() -> dict[str, Any]:
    """Return the names of scripts/record_release.py."""
    return runpy.run_path(str(PROTO / "scripts" / "record_release.py"))


@pytest.fixture(scope="session")
def golden() -> Callable[[str], Any]:
    """Return a reader of golden files."""
    return lambda name: json.loads((PROTO / "golden" / name).read_text())
