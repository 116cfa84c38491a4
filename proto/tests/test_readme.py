"""The example of the README."""

import subprocess
import sys
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def test_example_runs() -> None:
    """The example distinguishes an exit code of zero from none."""
    code = README.read_text().split("```python\n")[1].split("```")[0]
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == ["my-org/my-repo RUN_STATE_COMPLETED", "0", "unknown"]
