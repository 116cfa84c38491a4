"""The README's example runs as it stands, its table has every method."""

import re
import subprocess
import sys
from pathlib import Path

from runmeter.v1 import ingest_service_pb2, run_service_pb2, token_service_pb2

README = Path(__file__).parents[1] / "README.md"


def test_example_runs() -> None:
    """The example tells an exit code of zero from none."""
    code = README.read_text().split("```python\n")[1].split("```")[0]
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == ["my-org/my-repo RUN_STATE_COMPLETED", "0", "unknown"]


def test_table_has_every_method() -> None:
    """The table of services is that of the contract."""
    services = {
        service.name: [method.name for method in service.methods]
        for module in (ingest_service_pb2, token_service_pb2, run_service_pb2)
        for service in module.DESCRIPTOR.services_by_name.values()
    }
    rows = re.findall(r"^\| `(\w+Service)` \| (.+?) \|", README.read_text(), re.MULTILINE)
    assert {name: re.findall(r"`(\w+)`", methods) for name, methods in rows} == services
