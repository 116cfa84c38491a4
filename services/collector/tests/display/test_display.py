"""The line per sample, and the table at the end."""

from __future__ import annotations

from typing import Any

from runmeter.collector.display.run import table
from runmeter.collector.display.sample import sample_fields, sample_text
from runmeter.collector.model import Group, GroupSample, Key, Limit, Sample, SystemReading
from runmeter.collector.processes.process import Process
from runmeter.procfs import CpuTimes, parse_proc_stat

RUNNER, CRON = Group(mapped_name="runner"), Group(Key("", "/cron"))


def _process(pid: int, interval_ns: int, rss_bytes: int, group: Group = RUNNER) -> Process:
    fields = " ".join(["S", "1", *["0"] * 21])
    process = Process(parse_proc_stat(f"{pid} (work{pid}) {fields}".encode()), Key("", "/"))
    process.interval_ns, process.rss_bytes, process.group = interval_ns, rss_bytes, group
    return process


def _samples() -> tuple[Sample, Sample]:
    before = Sample(0, SystemReading(CpuTimes(100, 0, 0, 100, 0, 0, 0, 0), 50, 100), {})
    groups = {
        RUNNER: GroupSample(10**9, 512, 100),
        CRON: GroupSample(0, 64, 0),
        Group(Key("", "/hidden")): GroupSample(5, 5, 5),
    }
    cpu = CpuTimes(175, 0, 0, 125, 0, 0, 0, 0)
    return before, Sample(2 * 10**9, SystemReading(cpu, 1024 * 1024, 2**21), groups)


LIMITS = {"runner": Limit(2.0, 1024)}


def _fields(before: Sample | None, after: Sample, top: int = 2) -> dict[str, Any]:
    processes = [
        _process(5, 10**8, 100),
        _process(6, 10**9, 10),
        _process(7, 0, 300, CRON),
        _process(8, 0, 300, Group(Key("", "/hidden"))),
    ]
    return sample_fields(
        after, before, {RUNNER: "runner", CRON: "cron"}, LIMITS, processes, top, 4.0
    )


def test_a_sample_has_shares_of_limits() -> None:
    """Machine, listed containers with what they use of their limits, top processes."""
    before, after = _samples()
    assert _fields(before, after) == {
        "system": {"cpu_total_percent": 75.0, "mem_used_bytes": 1024 * 1024},
        "containers": [
            {
                "name": "runner",
                "cpu_cores": 0.5,
                "memory_bytes": 512,
                "cpu_limit_percent": 25.0,
                "memory_limit_percent": 50.0,
            },
            {"name": "cron", "cpu_cores": 0.0, "memory_bytes": 64},
        ],
        "top_processes": [
            {"pid": 6, "name": "work6", "container": "runner", "cpu_percent": 50.0,
             "memory_bytes": 10},
            {"pid": 5, "name": "work5", "container": "runner", "cpu_percent": 5.0,
             "memory_bytes": 100},
        ],
    }  # fmt: skip


def test_limits_apply_to_names_before_their_number() -> None:
    """The second container of a name has the limits of that name."""
    before, after = _samples()
    fields = sample_fields(after, before, {RUNNER: "runner#2"}, LIMITS, [], 5, 4.0)
    assert fields["containers"][0]["cpu_limit_percent"] == 25.0


def test_the_first_sample_has_no_rates() -> None:
    """Before there is an interval, sizes are known and rates are absent."""
    _, after = _samples()
    fields = _fields(None, after)
    assert fields["system"] == {"mem_used_bytes": 1024 * 1024}
    assert fields["containers"][0] == {
        "name": "runner",
        "memory_bytes": 512,
        "memory_limit_percent": 50.0,
    }
    assert "cpu_percent" not in fields["top_processes"][0]


def test_unreadable_counters_are_absent_from_a_sample() -> None:
    """What the machine did not say is not in the line."""
    nothing = Sample(10**9, SystemReading(None, None, None), {})
    assert _fields(Sample(0, nothing.system, {}), nothing, top=0) == {
        "system": {},
        "containers": [],
        "top_processes": [],
    }
    assert sample_text(_fields(None, nothing, top=0)) == ""


def test_a_sample_as_text() -> None:
    """For people a sample is one line with units."""
    before, after = _samples()
    assert sample_text(_fields(before, after)) == (
        "cpu 75.0 %; mem 1.0 MiB; "
        "runner: 0.500 cores (25 % of limit) 512 B (50 % of limit); "
        "cron: 0.000 cores 64 B; "
        "top: work6[6] 50.0 % 10 B, work5[5] 5.0 % 100 B"
    )


def test_the_table_is_aligned(golden_run: dict[str, Any]) -> None:
    """Run, containers and top processes in columns; what was not measured is a dash."""
    golden_run["payload"]["top_cpu_processes"][0].pop("peak_mem_bytes")
    assert table(golden_run["payload"]).split("\n") == [
        "20.0 s · 11 snapshots · machine CPU avg 48 %, peak 61 % · memory peak 5.0 GiB",
        "",
        "CONTAINER  CPU s  peak   p95  avg cores  RSS peak       p95       avg",
        "runner     30.01  2.01  2.00       1.50  17.7 MiB  17.7 MiB  17.7 MiB",
        "sidecar        -     -     -          -   4.0 KiB   4.0 KiB   4.0 KiB",
        "",
        "PROCESS   pid  container  CPU s  peak %  peak RSS",
        "cc1plus  4242     runner  12.50     100         -",
    ]


def test_the_table_of_nothing_is_a_headline() -> None:
    """Without containers and processes only the run is shown."""
    payload = {
        "duration_seconds": 0.0,
        "sample_count": 2,
        "containers": [],
        "top_cpu_processes": [],
    }
    assert table(payload).startswith("0.0 s · 2 snapshots\n")
