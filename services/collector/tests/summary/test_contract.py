"""What is measured is a run of the contract."""

from typing import Any

from runmeter.collector.config import settings
from runmeter.collector.processes.containers import Containers
from runmeter.collector.run.record import run_record, times
from runmeter.collector.sampling.sampler import Sampler
from runmeter.collector.summary.summary import Summary
from runmeter.v1 import run_pb2
from runmeter.v1.json_reading import run_from_json


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
    run = run_from_json(run_record(loaded, "id", payload, None), exact=True)
    assert run.state == run_pb2.RUN_STATE_COMPLETED
    assert run.payload.containers[0].name == "job"
    assert run.payload.containers[0].cpu_seconds == 1.0
    assert run.payload.cpu_total_percent.peak == 10.0
    assert not run.HasField("exit_code")
    assert not run.payload.HasField("host")
