"""One repository of all files, to be cloned."""

from pathlib import Path

import pytest
from rig.scratch import scratch_repository


@pytest.fixture(scope="session")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with the files of this one, in one commit on main; no test changes it."""
    return scratch_repository(tmp_path_factory.mktemp("everything"))
