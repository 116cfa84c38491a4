"""What the document says, tried: schemathesis calls every operation in every way it can think of.

All of its checks are on: statuses, types, headers and schemas of answers are as described, what is
bad is refused, what is good is taken, no call passes without its token, nothing ends in a 5xx.
"""

import re
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from rig.programs import BIN, Stage
from rig.repository import ROOT
from rig.stack import Stack

pytestmark = pytest.mark.slow

CI_COUNT = 40
CASES_MIN = 300
STORED_MIN = 50
# the document's patterns are strict and bodies large: no reason to give up on an operation
SLOW = "filter_too_much,too_slow,data_too_large"


def test_the_api_is_as_described(
    stage: Stage, tmp_path: Path, run_count: int, seed: str, tally: Counter[str]
) -> None:
    """No answer to any case is other than described; many of the cases store a run."""
    stack = Stack(stage)
    environment = {
        "FUZZING_URL": stack.gateway.url,
        "FUZZING_READ_TOKEN": stack.receiver.read_token,
        "SCHEMATHESIS_HOOKS": "rig.fuzzing",
        "PYTHONPATH": str(ROOT / "tests"),
        "COLUMNS": "200",
    }
    done = subprocess.run(
        [
            *(BIN / "schemathesis", "run", f"{stack.gateway.url}/openapi.json", "--no-color"),
            *("--checks=all", "--continue-on-failure", f"--suppress-health-check={SLOW}"),
            *(f"--max-examples={max(1, run_count // 20)}", f"--seed={seed.split()[0]}"),
            # sequences of calls take as long as all else: those are for the soak
            f"--phases=examples,coverage,fuzzing{',stateful' if run_count > CI_COUNT else ''}",
        ],
        cwd=tmp_path,
        env=stage.environment(environment),
        capture_output=True,
        text=True,
        timeout=300 + 30 * run_count,
    )
    output = "\n".join(line[:1000] for line in done.stdout.splitlines())
    assert done.returncode == 0, f"{output}\n{done.stderr}"
    found = re.search(r"(\d+) generated", output)
    assert found is not None, output
    tally["cases"] = int(found[1])
    tally["runs stored"] = stack.row_counts()["run"]
    finished = stack.gateway.events("request.finished")
    tally.update(f"answers {line['status'] // 100}xx" for line in finished)
    stack.close()
    assert tally["cases"] >= CASES_MIN
    assert tally["runs stored"] >= STORED_MIN
    assert stack.gateway.events("request.failed") == []
    assert stack.receiver.events("rpc.failed") == []
