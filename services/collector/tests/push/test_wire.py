"""From the run's JSON to the message that is pushed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format

from runmeter.collector.config import settings
from runmeter.collector.processes.containers import Containers
from runmeter.collector.push.wire import to_wire
from runmeter.collector.run.record import run_record, times
from runmeter.collector.sampling.sampler import Sampler
from runmeter.collector.summary.summary import Summary
from runmeter.v1 import run_pb2

PUSHED = {"id", "received_at", "updated_at"}  # what the receiver adds


def test_the_golden_record_becomes_the_golden_message(
    golden_run: dict[str, Any], golden: Path
) -> None:
    """The record of the REST interface, less what the receiver adds, is the golden message."""
    document = json.loads((golden / "stored_run.wire.json").read_text())
    expected = json_format.ParseDict(document["run"], run_pb2.Run())
    assert to_wire({k: v for k, v in golden_run.items() if k not in PUSHED}) == expected


@pytest.mark.parametrize(
    "field", [f.name for f in run_pb2.Run.DESCRIPTOR.fields if f.name not in ("scope", "payload")]
)
def test_every_field_of_a_run_is_in_the_golden_record(
    golden_run: dict[str, Any], field: str
) -> None:
    """The golden record leaves out no field, so the comparison above covers them all."""
    assert field in golden_run


def test_a_measured_run_is_a_message(machine: Any) -> None:
    """A record the sampler makes has exactly the fields and types of the contract."""
    machine.add(5, cgroup="0::/job", resident=3, own=1)
    machine.add(6, ppid=5, cgroup="0::/other", state="Z")
    containers = Containers({}, lambda pid: None)
    summary = Summary(10**9, 10, lambda group: True)
    sampler = Sampler(machine.proc, containers, summary, own_pid=0)
    sampler.start(0)
    machine.run(5, 100)
    machine.clock(busy=10, idle=90)
    sampler.finish(10**9)
    measured = summary.payload(containers.names(summary.groups), lambda group: None)
    payload = {**times(0, measured["duration_seconds"]), **measured}
    loaded = settings.load([], {"GITHUB_REPOSITORY": "o/r", "GITHUB_RUN_ATTEMPT": "1"})
    run = to_wire(run_record(loaded, "id", payload, None))
    assert run.state == run_pb2.RUN_STATE_COMPLETED
    assert run.payload.containers[0].name == "job"
    assert run.payload.containers[0].cpu_seconds == 1.0
    assert run.payload.cpu_total_percent.peak == 10.0
    assert not run.HasField("exit_code")
    assert not run.payload.HasField("host")


@pytest.mark.parametrize(
    "change",
    [
        {"state": "unheard of"},
        {"payload": {}},
        {"surprise": 1},
        {"revision": "four"},
        {"organization": 7},
    ],
)
def test_what_is_no_run_of_this_version_is_refused(
    golden_run: dict[str, Any], change: dict[str, Any]
) -> None:
    """Other words, missing parts, other types raise instead of pushing something else."""
    run = {k: v for k, v in golden_run.items() if k not in PUSHED}
    with pytest.raises((KeyError, TypeError, ValueError)):
        to_wire({**run, **change})
