"""docs/api.md: every command runs as it stands, and is answered as it says."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from rig.programs import Stage, staged
from rig.repository import ROOT

GUIDE = ROOT / "docs" / "api.md"
URL = "http://localhost:8080"
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BETWEEN = "\f"
# what is another one each time
FRESH_FIELDS = {"received_at", "updated_at", "expires_at", "request_id"}
TOKEN_THAT_ENDS = re.compile(r"[0-9a-f]{64}\.\d+")
TOOLS = ("curl", "jq")
MISSING = [tool for tool in TOOLS if shutil.which(tool) is None]


class Example(NamedTuple):
    """Commands, and what they answer: ``json``, ``http`` (headers, perhaps a body) or ``text``."""

    commands: str
    kind: str
    answer: str


def examples(text: str) -> list[Example]:
    """Return the commands of a document in order, each with the answer that follows."""
    found: list[Example] = []
    for kind, content in FENCE.findall(text):
        if kind == "sh":
            found.append(Example(content, "text", ""))
        else:
            found[-1] = found[-1]._replace(kind=kind, answer=content)
    return found


EXAMPLES = examples(GUIDE.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """What each example wrote, all run in one shell, on a system that nobody has used."""
    if MISSING:
        pytest.skip("needs curl and jq")
    with staged(tmp_path_factory.mktemp("guide")) as stage:
        receiver = stage.receiver(
            read_token=stage.keep("my-secret-token"), hmac_key=stage.keep("my-hmac-key")
        )
        gateway = stage.gateway(receiver.address)
        yield run(stage, gateway.url)


def run(stage: Stage, url: str) -> list[str]:
    """Run the commands of all examples, and tell what each wrote."""
    script = f"\nprintf '{BETWEEN}'\n".join(one.commands for one in EXAMPLES)
    assert script.count(URL) == 1
    done = subprocess.run(
        ["sh", "-eu", "-c", script.replace(URL, url)],
        cwd=stage.folder,
        env=stage.environment({"no_proxy": "*"}),
        capture_output=True,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    found = done.stdout.decode().split(BETWEEN)
    assert len(found) == len(EXAMPLES)
    return found


def comparable(value: Any, name: str = "") -> Any:
    """Replace what is another one each time."""
    if isinstance(value, dict):
        return {key: comparable(item, key) for key, item in value.items()}
    if isinstance(value, list):
        return [comparable(item) for item in value]
    if name in FRESH_FIELDS and value != "build-7":
        assert isinstance(value, str)
        return "…"
    if name == "token" and TOKEN_THAT_ENDS.fullmatch(value):
        return "….…"
    return value


def parted(message: str) -> tuple[str, set[str], str]:
    """Split an HTTP message into its first line, its headers and its body."""
    head, _, body = message.replace("\r\n", "\n").partition("\n\n")
    first, *headers = head.strip().splitlines()
    return first, {name_lower(header) for header in headers}, body


def name_lower(header: str) -> str:
    """Write the name of a header in lower case."""
    name, _, value = header.partition(":")
    return f"{name.lower()}:{value}"


@pytest.mark.parametrize("number", range(len(EXAMPLES)), ids=lambda n: f"{n:02}")
def test_example(outputs: list[str], number: int) -> None:
    """The answer is the one that stands behind the commands, but for ids of requests and times."""
    example, output = EXAMPLES[number], outputs[number]
    if example.kind == "text":
        assert output == example.answer
        return
    if example.kind == "http":
        first, headers, answer = parted(example.answer)
        real_first, real_headers, output = parted(output)
        assert real_first == first
        assert headers - real_headers == set()
        assert bool(output) == bool(answer)
        if not answer:
            return
    else:
        answer = example.answer
    assert comparable(json.loads(output)) == comparable(json.loads(answer))


def test_every_route_has_an_example() -> None:
    """Each path of the document is called, and each of the common errors is met."""
    document = json.loads((ROOT / "docs" / "openapi.json").read_text(encoding="utf-8"))
    commands = "\n".join(one.commands for one in EXAMPLES)
    called = set(re.findall(r"\$GATEWAY([^\s\"?|;]+)", commands))
    called |= {path.replace("$repository", "my-org/my-repo") for path in called}
    for path in document["paths"]:
        pattern = re.sub(r"\{\w+\}", "[^/]+", path)
        assert any(re.fullmatch(pattern, one) for one in called), path
    met = set(re.findall(r"^HTTP/1.1 (\d+)", "\n".join(one.answer for one in EXAMPLES), re.M))
    assert {"200", "201", "304", "400", "401", "403", "405", "409", "415"} <= met
