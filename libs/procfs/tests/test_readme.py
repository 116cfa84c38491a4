"""The README's example runs as it is."""

import subprocess
import sys
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def test_example_runs() -> None:
    """The example prints the rss of the process itself, in bytes, and its CPU time."""
    code = README.read_text().split("```python\n")[1].split("```")[0]
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True
    )
    name, rss_bytes, cpu_seconds = done.stdout.rsplit(maxsplit=2)
    assert name.startswith("python")
    assert int(rss_bytes) > 1 << 20
    assert float(cpu_seconds) >= 0
