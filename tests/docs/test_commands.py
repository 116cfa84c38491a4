"""Every command in the documents runs as it stands, and is answered as they say.

A document is run from top to bottom in one shell, in a folder of its own, on services that nobody
has used. `SETTINGS` has what each document needs; ports that it names are other ones here.
"""

import json
import re
import shutil
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rig.documents import Example, documents, examples, run
from rig.programs import Stage, staged
from rig.repository import ROOT

READ_TOKEN, HMAC_KEY = "my-secret-token", "my-hmac-key-of-many-bytes"
# what is another one each time
FRESH_FIELDS = {"received_at", "updated_at", "expires_at", "request_id"}
TOKEN_THAT_ENDS = re.compile(r"[0-9a-f]{64}\.\d+")
NUMBER = re.compile(r"\d+(\.\d+)?")
TOOLS = ("curl", "jq", "openssl", "make")
MISSING = [tool for tool in TOOLS if shutil.which(tool) is None]
MAKEFILE = "test lint build:\n\t@sleep 0.5\n"

Replaced = dict[str, str]
"""What of a document's commands is another thing here: patterns, and what stands in their place."""


def free_port() -> str:
    """Return a port of loopback that nobody uses."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return str(probe.getsockname()[1])


# -- what documents need -------------------------------------------------------------------


def own_services(stage: Stage, request: pytest.FixtureRequest) -> Replaced:
    """The document starts receiver and gateway itself."""
    (stage.folder / "Makefile").write_text(MAKEFILE)
    demo = f"{sys.executable} -I {ROOT / 'scripts' / 'local.py'} demo"
    return {port: free_port() for port in (r"\b50051\b", r"\b8080\b", r"\b9464\b", r"\b9465\b")} | {
        "^make setup$": ":",
        "^make demo$": demo,
    }


def services(stage: Stage, request: pytest.FixtureRequest) -> Replaced:
    """Receiver and gateway run already, with the secrets that documents use."""
    (stage.folder / "Makefile").write_text(MAKEFILE)
    receiver = stage.receiver(read_token=stage.keep(READ_TOKEN), hmac_key=stage.keep(HMAC_KEY))
    gateway = stage.gateway(receiver.address)
    return {
        r"\b(localhost|receiver):50051\b": receiver.address,
        r"http://(localhost|gateway):8080\b": gateway.url,
    }


def guide(stage: Stage, request: pytest.FixtureRequest) -> Replaced:
    """As `services`, with the key that the tokens in the document were made with."""
    receiver = stage.receiver(
        read_token=stage.keep(READ_TOKEN), hmac_key=stage.keep("my-hmac-key")
    )
    return {r"http://localhost:8080\b": stage.gateway(receiver.address).url}


SETTINGS: dict[str, Callable[[Stage, pytest.FixtureRequest], Replaced]] = {
    "README.md": own_services,
    "docs/api.md": guide,
    "docs/collector.md": services,
    "docs/getting-started.md": own_services,
}


def runnable() -> list[str]:
    """Return the documents that have commands to run."""
    return [name for name in documents() if examples_of(name)]


def examples_of(name: str) -> list[Example]:
    """Return the commands of a document that are run."""
    return examples((ROOT / name).read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", runnable())
def test_document(
    name: str, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> None:
    """All commands succeed, one after the other, and each answer is the one that stands there."""
    if MISSING:
        pytest.skip("needs curl, jq, openssl and make")
    assert name in SETTINGS, "say what its commands need, or why they are not run"
    with staged(tmp_path_factory.mktemp("document")) as stage:
        replaced = SETTINGS[name](stage, request)
        found = examples_of(name)
        commands = [replace(example.commands, replaced) for example in found]
        more = {"no_proxy": "*", "RECEIVER_OPS_ADDR": "none", "GATEWAY_OPS_ADDR": "none"}
        written, _ = run(commands, stage.folder, stage.environment(more))
    for example, output in zip(found, written, strict=True):
        check(example, output, f"{name}:{example.line}")


def replace(text: str, replaced: Replaced) -> str:
    """Put in place what is another thing here."""
    for pattern, value in replaced.items():
        text = re.sub(pattern, lambda _, value=value: value, text, flags=re.MULTILINE)
    return text


# -- answers -------------------------------------------------------------------------------


def check(example: Example, output: str, where: str) -> None:
    """Compare what commands wrote with the answer in the document."""
    answer = example.answer
    if example.kind == "http":
        first, headers, answer = parted(answer)
        real_first, real_headers, output = parted(output)
        assert real_first == first, where
        assert headers - real_headers == set(), where
        assert bool(output) == bool(answer), where
        if not answer:
            return
    if example.kind in ("json", "http"):
        real, said = json.loads(output), json.loads(answer)
        seen = shape if example.is_shape else comparable
        assert seen(real) == seen(said), where
    elif example.kind == "text":
        seen_text = text_shape if example.is_shape else str
        assert seen_text(output) == seen_text(answer), where
    else:
        assert not example.kind, f"{where}: no answer can be {example.kind}"


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


def shape(value: Any) -> Any:
    """Return names and kinds of values: of a list the kinds that occur, of a number that it is."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items()}
    if isinstance(value, list):
        kinds = [shape(item) for item in value]
        return [kind for number, kind in enumerate(kinds) if kind not in kinds[:number]]
    if isinstance(value, int | float) and not isinstance(value, bool):
        return 0
    return type(value).__name__


def text_shape(text: str) -> list[str]:
    """Return the lines of a text without their figures and how they are aligned."""
    lines = (" ".join(NUMBER.sub("0", line).split()) for line in text.splitlines())
    return [line for line in lines if line]


def parted(message: str) -> tuple[str, set[str], str]:
    """Split an HTTP message into its first line, its headers and its body."""
    head, _, body = message.replace("\r\n", "\n").partition("\n\n")
    first, *headers = head.strip().splitlines()
    return first, {name_lower(header) for header in headers}, body


def name_lower(header: str) -> str:
    """Write the name of a header in lower case."""
    name, _, value = header.partition(":")
    return f"{name.lower()}:{value}"


def test_every_route_has_an_example() -> None:
    """docs/api.md calls each path of the API, and meets each of the common errors."""
    document = json.loads((ROOT / "docs" / "openapi.json").read_text(encoding="utf-8"))
    found = examples_of("docs/api.md")
    commands = "\n".join(one.commands for one in found)
    called = set(re.findall(r"\$GATEWAY([^\s\"?|;]+)", commands))
    called |= {path.replace("$repository", "my-org/my-repo") for path in called}
    for path in document["paths"]:
        pattern = re.sub(r"\{\w+\}", "[^/]+", path)
        assert any(re.fullmatch(pattern, one) for one in called), path
    met = set(re.findall(r"^HTTP/1.1 (\d+)", "\n".join(one.answer for one in found), re.M))
    assert {"200", "201", "304", "400", "401", "403", "405", "409", "415"} <= met
