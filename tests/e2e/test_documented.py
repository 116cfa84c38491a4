"""The documented examples, word for word where the documentation has words."""

import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from rig.programs import Program, Stage
from rig.shape import DOCUMENTED, PAYLOAD_DOCUMENTED, check_record
from rig.stack import bearer

READ_TOKEN, HMAC_KEY = "my-secret-token", "my-hmac-key"
MY_ORG = {"organization": "my-org", "repository": "my-repo", "workflow": "ci.yml", "job": "build"}
TEST_ORG = {
    "organization": "test-org",
    "repository": "test-org/stress-test",
    "workflow": "stress-test-workflow",
    "job": "heavy-workload",
}
MY_PATH = "/api/v1/metrics/repo/my-org/my-repo/ci.yml/build"
TEST_PATH = (
    "/api/v1/metrics/repo/test-org/test-org%2Fstress-test/stress-test-workflow/heavy-workload"
)
LIMITS = """{
  "runner": { "cpu": "2", "memory": "1Gi" },
  "sidecar": { "cpu": "500m", "memory": "256Mi" }
}"""
ENVIRONMENT = {
    "GITHUB_REPOSITORY_OWNER": "my-org",
    "GITHUB_REPOSITORY": "my-org/my-repo",
    "GITHUB_WORKFLOW": "ci.yml",
    "GITHUB_JOB": "build",
    "GITHUB_RUN_ID": "run-123",
    "CGROUP_PROCESS_MAP": '{"node":"runner"}',
    "CGROUP_LIMITS": LIMITS,
}


@pytest.fixture(scope="module")
def documented(tmp_path_factory: pytest.TempPathFactory) -> Iterator["Documented"]:
    """Receiver and gateway, started with the documented flags."""
    stage = Stage(tmp_path_factory.mktemp("documented"))
    stage.keep(READ_TOKEN)
    stage.keep(HMAC_KEY)
    try:
        yield Documented(stage)
    finally:
        stage.close()
    assert stage.leaks() == []


class Documented:
    """The system of the documentation, on free ports."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        receiver = stage.start(
            "receiver",
            "--addr=127.0.0.1:0",
            "--ops-addr=127.0.0.1:0",
            "--db=metrics.db",
            f"--read-token={READ_TOKEN}",
            f"--hmac-key={HMAC_KEY}",
        )
        address = receiver.event("server.started")["address"]
        self.url = stage.gateway(address).url

    def token(self, body: dict[str, str]) -> str:
        """Generate a push token, step 1."""
        answer = httpx.post(
            f"{self.url}/api/v1/token",
            headers=bearer(READ_TOKEN) | {"Content-Type": "application/json"},
            content=json.dumps(body, separators=(",", ":")),
            trust_env=False,
        )
        assert answer.status_code == 200
        assert answer.json().keys() == {"token"}
        return self.stage.keep(answer.json()["token"])

    def query(self, path: str) -> list[dict[str, Any]]:
        """Query metrics with the read token, step 3."""
        answer = httpx.get(self.url + path, headers=bearer(READ_TOKEN), trust_env=False)
        assert answer.status_code == 200
        found: list[dict[str, Any]] = answer.json()
        return found

    def collect(self, *arguments: str, environment: dict[str, str]) -> Program:
        """Run the collector as a sidecar beside a process named ``node``, until its second tick."""
        node = self.stage.folder / "node"
        if not node.exists():
            node.symlink_to("/bin/sleep")
        beside = self.stage.start(node, "60")
        collector: Program = self.stage.start(
            "collector", "--log-level=debug", *arguments, environment=environment
        )
        collector.event("run.started")
        collector.event("sample.taken", count=2)
        assert collector.stop(signal.SIGTERM) == 0, collector.text
        beside.close()
        return collector


def test_tokens(documented: Documented) -> None:
    """Both token examples mint the tokens of the contract; the short name means the full path."""
    token = documented.token(MY_ORG)
    assert re.fullmatch(r"[0-9a-f]{64}", token)
    assert token == "2aa2cfbe5944440fdd834d3fd6758c5d577234b45b47bf375a298145a2ba6857"
    assert documented.token({**MY_ORG, "repository": "my-org/my-repo"}) == token
    stress = documented.token(TEST_ORG)
    assert stress == "a2db45c94e43c1f61ef9079619b6bb28d1305df37138077ab1f5e9040e23f2d7"


def test_quick_start(documented: Documented) -> None:
    """Token, collector with the documented flags and variables, query: the documented answer."""
    token = documented.token(MY_ORG)
    collector = documented.collect(
        "--interval=2s",
        "--top=10",
        f"--push-endpoint={documented.url}/api/v1/metrics",
        f"--push-token={token}",
        environment=ENVIRONMENT,
    )
    (record,) = documented.query(MY_PATH)
    check_record(record)
    assert list(DOCUMENTED) == [name for name in record if name in DOCUMENTED]
    assert list(PAYLOAD_DOCUMENTED) == [n for n in record["payload"] if n in PAYLOAD_DOCUMENTED]
    said = {name: record[name] for name in ("organization", "repository", "workflow", "job")}
    assert said == {**MY_ORG, "repository": "my-org/my-repo"}
    assert record["run_id"] == "run-123"
    assert record["state"] == "completed"
    payload = record["payload"]
    assert payload["coverage"]["interval_seconds"] == 2
    assert len(payload["top_mem_processes"]) <= 10
    runner = next(found for found in payload["containers"] if found["name"] == "runner")
    assert runner["limits"] == {"cpu_cores": 2.0, "memory_bytes": 2**30}
    warnings = [line["reason"] for line in collector.events("config.warned")]
    assert len(warnings) == 1
    assert warnings[0].startswith("--push-token: ")


def test_samples_at_debug(documented: Documented) -> None:
    """At debug every sample is a line: the system, containers with their share of the limits
    (2 cores, 1 GiB), top processes."""
    collector = documented.collect(
        "--interval=200ms",
        "--top=3",
        environment={"CGROUP_PROCESS_MAP": '{"node":"runner"}'} | {"CGROUP_LIMITS": LIMITS},
    )
    samples = collector.events("sample.taken")
    assert len(samples) >= 2
    last = samples[-1]
    assert last["system"].keys() == {"cpu_total_percent", "mem_used_bytes"}
    runner = next(found for found in last["containers"] if found["name"] == "runner")
    assert runner["cpu_limit_percent"] == pytest.approx(50 * runner["cpu_cores"], abs=0.01)
    share = 100 * runner["memory_bytes"] / 2**30
    assert runner["memory_limit_percent"] == pytest.approx(share, abs=0.01)
    assert len(last["top_processes"]) == 3
    assert last["top_processes"][0].keys() == {
        *("pid", "name", "container", "cpu_percent", "memory_bytes")
    }


def test_samples_at_debug_as_text(documented: Documented) -> None:
    """The text format says the same for people."""
    collector: Program = documented.stage.start(
        "collector",
        *("--interval=100ms", "--log-level=debug", "--log-format=text", "--", "sleep", "0.3"),
        environment={"CGROUP_LIMITS": '{"command":{"cpu":"500m","memory":"256Mi"}}'},
    )
    assert collector.wait() == 0
    sampled = [line for line in collector.log if " sample.taken " in line]
    share = r"command: 0\.\d{3} cores \(\d+ % of limit\) \d+\.\d [KM]iB \(\d+ % of limit\)"
    assert any(re.search(share, line) for line in sampled), sampled


def test_stress_example(documented: Documented) -> None:
    """The second example: the token in the variable, the repository by its full path, %2F."""
    token = documented.token(TEST_ORG)
    documented.collect(
        "--interval=200ms",
        f"--push-endpoint={documented.url}/api/v1/metrics",
        environment={
            **ENVIRONMENT,
            "GITHUB_REPOSITORY_OWNER": TEST_ORG["organization"],
            "GITHUB_REPOSITORY": TEST_ORG["repository"],
            "GITHUB_WORKFLOW": TEST_ORG["workflow"],
            "GITHUB_JOB": TEST_ORG["job"],
            "COLLECTOR_PUSH_TOKEN": token,
        },
    )
    (record,) = documented.query(TEST_PATH)
    check_record(record)
    assert {name: record[name] for name in TEST_ORG} == TEST_ORG
    assert documented.query(TEST_PATH.replace("%2F", "/")) == [record]


def test_owner_from_the_repository(documented: Documented, tmp_path: Path) -> None:
    """Without GITHUB_REPOSITORY_OWNER it is what stands before the slash."""
    token = documented.token({**MY_ORG, "job": "owner"})
    environment = {**ENVIRONMENT, "GITHUB_JOB": "owner", "COLLECTOR_PUSH_TOKEN": token}
    del environment["GITHUB_REPOSITORY_OWNER"]
    collector: Program = documented.stage.start(
        "collector",
        f"--push-endpoint={documented.url}/api/v1/metrics",
        f"--spool-dir={tmp_path}",
        "--",
        "true",
        environment=environment,
    )
    assert collector.wait() == 0
    collector.event("run.pushed")
    (record,) = documented.query(MY_PATH.replace("/build", "/owner"))
    assert record["organization"] == "my-org"
