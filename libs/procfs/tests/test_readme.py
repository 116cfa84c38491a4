"""The README's example runs as it stands, its table has what there is to read."""

import re
import subprocess
import sys
from pathlib import Path

from runmeter.procfs import CgroupV1, CgroupV2, ProcFS

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


def test_table_has_every_reader() -> None:
    """Each method of the readers stands in the table, and nothing else."""
    readers = {
        f"{reader.__name__}.{name}"
        for reader in (ProcFS, CgroupV1, CgroupV2)
        for name, value in vars(reader).items()
        if not name.startswith("_") and callable(value)
    }
    rows = [line for line in README.read_text().splitlines() if line.startswith("| `")]
    assert len(readers) > 20
    assert set(re.findall(r"`(\w+\.\w+)\(\)`", "\n".join(rows))) == readers
