"""Every command in the documents runs, and its answer is the documented one.

A document is run from top to bottom in one shell, in its own folder, with new services.
``SETTINGS`` has what each document needs. Ports and addresses are replaced by free ones.
"""

import contextlib
import json
import re
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from rig.answers import check, missing, text_shape
from rig.documents import Example, documents, examples, fences, run
from rig.postgres import Postgres
from rig.programs import Gateway, Receiver, Stage, staged
from rig.repository import ROOT
from rig.stack import Scope, a_record, bearer

READ_TOKEN, HMAC_KEY = "my-secret-token", "my-hmac-key-of-many-bytes"
TOOLS = ("curl", "jq", "openssl", "make")
MISSING = [tool for tool in TOOLS if shutil.which(tool) is None]
FIGURES = ("peak", "p99", "p95", "p75", "p50", "avg")
SCOPE = Scope("my-org", "my-org/my-repo", "ci.yml", "build")
RECORD = a_record(SCOPE)
RECORD["payload"]["containers"] = [
    {
        "name": "runner",
        "cpu_cores": dict.fromkeys(FIGURES, 2.007),
        "memory_bytes": dict.fromkeys(FIGURES, 18567168),
    }
]
MAKEFILE = "test lint build:\n\t@sleep 0.5\n"
# a job that does not end before the collector beside it has begun its run
SEEN_JOB = """\
test:
\t@[ -z "$$GITHUB_RUN_ID" ] || until ls ~/.local/state/runmeter/*.json; do sleep 0.05; done >&2
\t@sleep 0.3
"""

Replaced = dict[str, str]
"""Patterns in a document's commands, and what replaces them."""


def free_ports(count: int) -> list[str]:
    """Return free ports of loopback."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [str(probe.getsockname()[1]) for probe in probes]


# -- what documents need -------------------------------------------------------------------


def own_services(stage: Stage) -> Replaced:
    """The document starts receiver and gateway."""
    (stage.folder / "Makefile").write_text(MAKEFILE)
    demo = f"{sys.executable} -I {ROOT / 'scripts' / 'local.py'} demo"
    ports = [rf"\b{port}\b" for port in (50051, 8080, 9464, 9465)]
    made = dict(zip(ports, free_ports(len(ports)), strict=True))
    return {**made, "^make setup$": ":", "^make demo$": demo}


def services(stage: Stage) -> Replaced:
    """Receiver and gateway run, with the secrets of the documents."""
    (stage.folder / "Makefile").write_text(MAKEFILE)
    receiver = stage.receiver(read_token=stage.keep(READ_TOKEN), hmac_key=stage.keep(HMAC_KEY))
    gateway = stage.gateway(receiver.address)
    return {
        r"\b(localhost|receiver):50051\b": receiver.address,
        r"http://(localhost|gateway):8080\b": gateway.url,
    }


def stored(stage: Stage) -> Replaced:
    """A database with a run in it, `metrics.db`; the document starts the services."""
    database = stage.folder / "metrics.db"
    receiver = stage.receiver(database=database)
    push(stage, receiver)
    assert receiver.stop() == 0
    return own_services(stage)


def answering(stage: Stage) -> Replaced:
    """A receiver with a run in it; the document starts a gateway."""
    receiver = stage.receiver(read_token=stage.keep(READ_TOKEN))
    push(stage, receiver)
    (stage.folder / "run.json").write_text(json.dumps({**RECORD, "run_id": "run-124"}))
    own = own_services(stage)
    return {r"\b(localhost|127\.0\.0\.1):50051\b": receiver.address} | own


def waiting(stage: Stage) -> Replaced:
    """As `services`, and a token for the job in the file `push-token`."""
    replaced = services(stage)
    (stage.folder / "Makefile").write_text(SEEN_JOB)
    token = mint(next(p for p in stage.programs if isinstance(p, Gateway)).url, READ_TOKEN)
    (stage.folder / "push-token").write_text(stage.keep(token))
    return replaced


def bare(stage: Stage) -> Replaced:
    """As `waiting`; the collector in one file is built from this repository."""
    pyz = f"{sys.executable} -I {ROOT / 'scripts' / 'pyz.py'} dist/collector.pyz"
    return {**waiting(stage), "^make pyz$": pyz, "/tmp/collector.pyz": "./collector.pyz"}


def push(stage: Stage, receiver: Receiver) -> None:
    """Store a run, through a gateway."""
    url = stage.gateway(receiver.address).url
    token = stage.keep(mint(url, receiver.read_token))
    answer = httpx.post(
        f"{url}/api/v1/metrics", json=RECORD, headers=bearer(token), trust_env=False, timeout=30
    )
    assert answer.is_success


def mint(url: str, read_token: str) -> str:
    """Mint a push token for the job of the documents."""
    answer = httpx.post(
        f"{url}/api/v1/token",
        json=SCOPE._asdict(),
        headers=bearer(read_token),
        trust_env=False,
        timeout=30,
    )
    return str(answer.json()["token"])


def guide(stage: Stage) -> Replaced:
    """As `services`, with the key that the tokens in the document were made with."""
    receiver = stage.receiver(read_token=stage.keep(READ_TOKEN), hmac_key=stage.keep("my-hmac-key"))
    return {r"http://localhost:8080\b": stage.gateway(receiver.address).url}


SETTINGS: dict[str, Callable[[Stage], Replaced]] = {
    "README.md": own_services,
    "docs/api.md": guide,
    "docs/bare-machines.md": bare,
    "docs/collector.md": services,
    "docs/contract.md": services,
    "docs/gateway.md": answering,
    "docs/getting-started.md": own_services,
    "docs/receiver.md": stored,
    "services/collector/README.md": waiting,
    "services/gateway/README.md": answering,
    "services/receiver/README.md": stored,
}

POSTGRES = {"docs/receiver.md"}
"""Documents that use PostgreSQL."""
AT_A_TIME = 3
SURROUNDING = {"no_proxy": "*", "RECEIVER_OPS_ADDR": "none", "GATEWAY_OPS_ADDR": "none"}


def runnable() -> list[str]:
    """Return the documents that have commands to run."""
    return [name for name in documents() if examples_of(name)]


def examples_of(name: str) -> list[Example]:
    """Return the commands of a document that are run."""
    return examples((ROOT / name).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def outcomes(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Future[list[str]]]]:
    """What the commands of each document wrote; several documents are run at a time."""
    chosen = [item for item in request.session.items if item.path == Path(__file__)]
    names = {item.callspec.params["name"] for item in chosen if hasattr(item, "callspec")}
    if MISSING:
        pytest.skip("needs curl, jq, openssl and make")
    server = request.getfixturevalue("postgres") if names & POSTGRES else None
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        yield {
            name: pool.submit(outcome, name, tmp_path_factory.mktemp("document"), server)
            for name in sorted(names & SETTINGS.keys())
        }


def outcome(name: str, folder: Path, server: Postgres | None) -> list[str]:
    """Run all commands of a document; return what each wrote."""
    with staged(folder) as stage:
        replaced = SETTINGS[name](stage)
        if server is not None and name in POSTGRES:
            replaced |= {r"postgres://user@host:5432/runs\b": server.create_database()}
        commands = [replace(example.commands, replaced) for example in examples_of(name)]
        return run(commands, stage.folder, stage.environment(SURROUNDING))


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name == "README.md" else pytest.mark.slow)
        for name in runnable()
    ],
)
def test_document(name: str, outcomes: dict[str, Future[list[str]]]) -> None:
    """All commands succeed, and each answer is the documented one."""
    assert name in outcomes, "SETTINGS has to say what its commands need, or a reason why not"
    for example, output in zip(examples_of(name), outcomes[name].result(), strict=True):
        check(example, output, f"{name}:{example.line}")


def replace(text: str, replaced: Replaced) -> str:
    """Replace what differs here."""
    for pattern, value in replaced.items():
        text = re.sub(pattern, lambda _, value=value: value, text, flags=re.MULTILINE)
    return text


def test_the_readme_shows_the_demo(outcomes: dict[str, Future[list[str]]]) -> None:
    """The table of the README and the record of docs/api.md look like those of `make demo`."""
    output = outcomes["README.md"].result()[0]
    before, _, rest = output.partition("\n[\n")
    record, _, table = rest.partition("\n]\n")
    assert before
    (text,) = shown("README.md", "CONTAINER  CPU s")
    (shortened,) = shown("docs/api.md", '"self_peak_rss_bytes"')
    assert set(text_shape(text)) <= set(text_shape(table))
    assert missing(json.loads(shortened), json.loads(f"[{record}]")) == []


def shown(name: str, part: str) -> list[str]:
    """Return the blocks of a document that hold a text."""
    found = fences((ROOT / name).read_text(encoding="utf-8"))
    return [fence.text for fence in found if part in fence.text and fence.language != "sh"]


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
