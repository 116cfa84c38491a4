"""What a wrapped command sees of us: nothing."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from rig.programs import Program, Stage
from rig.stack import Scope, Stack

LOOK = """
import json, os, sys
opened = os.listdir("/proc/self/fd")
json.dump({
    "environment": dict(os.environ),
    "descriptors": {n: os.readlink(f"/proc/self/fd/{n}") for n in opened if os.path.lexists(
        f"/proc/self/fd/{n}")},
    "nice": os.nice(0),
    "directory": os.getcwd(),
    "arguments": sys.argv[1:],
}, open(sys.argv[1], "w"))
"""


def test_command_sees_nothing_of_ours(stack: Stack, scope: Scope, stage: Stage) -> None:
    """Environment, descriptors, folder, arguments: as without us, less the token."""
    token = stage.keep(stack.token(scope))
    seen: list[dict[str, Any]] = []
    environment = {
        "GITHUB_REPOSITORY": scope.repository,
        "GITHUB_WORKFLOW": scope.workflow,
        "GITHUB_JOB": scope.job,
        "COLLECTOR_PUSH_TOKEN": token,
        "COLLECTOR_PUSH_TOKEN_FILE": "/no/such/file",
        "CI": "true",
    }
    endpoint = f"--push-endpoint=grpc://{stack.receiver.address}"
    for number, wrapper in enumerate(([], ["collector", endpoint, "--"])):
        target = str(stage.folder / f"seen-{number}")
        program: Program = stage.start(
            *(*wrapper, sys.executable, "-c", LOOK, target, "an argument", "--top=3"),
            environment=environment,
        )
        assert program.wait() == 0, program.text
        seen.append(json.loads(Path(target).read_text()))
    bare, wrapped = seen
    assert token not in json.dumps(wrapped)
    ours = {"COLLECTOR_PUSH_TOKEN", "COLLECTOR_PUSH_TOKEN_FILE"}
    expected = {k: v for k, v in bare["environment"].items() if k not in ours}
    assert wrapped["environment"] == expected
    assert ours < bare["environment"].keys()
    assert wrapped["nice"] == bare["nice"]
    assert wrapped["directory"] == bare["directory"]
    assert wrapped["arguments"][1:] == ["an argument", "--top=3"]
    # 0, 1, 2, and the folder being listed
    assert wrapped["descriptors"].keys() == bare["descriptors"].keys()
    assert {"0", "1", "2"} <= wrapped["descriptors"].keys()
    assert len(wrapped["descriptors"]) <= 4
    assert wrapped["descriptors"]["0"] == bare["descriptors"]["0"]


@pytest.mark.parametrize("unmeasured", [False, True], ids=["measured", "unmeasured"])
def test_command_has_its_signals(stage: Stage, unmeasured: bool) -> None:
    """Blocked, ignored and caught signals of the command are as without us."""
    look = ["grep", "-E", "^Sig(Blk|Ign|Cgt|Pnd)", "/proc/self/status"]
    environment = {"COLLECTOR_PROC_PATH": "/no/such/folder"} if unmeasured else {}
    seen = []
    for wrapper in ([], ["collector", "--log-level=error", "--"]):
        program = stage.start(*wrapper, *look, environment=environment)
        assert program.wait() == 0
        pairs = (line.split(":") for line in program.output if line.startswith("Sig"))
        # 32 and 33 are the C library's own: its posix_spawn ignores them
        seen.append({name: int(mask, 16) & ~(3 << 31) for name, mask in pairs})
    assert len(seen[0]) == 4
    assert seen[0] == seen[1]


def test_unusable_endpoint_shows_no_token(stage: Stage) -> None:
    """Where nothing can be pushed the command still does not get the token."""
    token = stage.secret()
    target = str(stage.folder / "seen")
    program = stage.start(
        *("collector", "--", sys.executable, "-c", LOOK, target),
        environment={"COLLECTOR_PUSH_TOKEN": token, "COLLECTOR_PROC_PATH": "/no/such/folder"},
    )
    assert program.wait() == 0
    assert token not in Path(target).read_text()
