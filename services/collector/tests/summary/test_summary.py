"""What becomes of samples, each of them made by hand."""

from __future__ import annotations

from typing import Any

import pytest

from runmeter.collector.model import (
    CgroupFigures,
    Group,
    GroupSample,
    Key,
    Limit,
    Sample,
    SystemReading,
)
from runmeter.collector.processes.process import Process
from runmeter.collector.summary.series import BUDGET_BYTES
from runmeter.collector.summary.summary import Summary
from runmeter.procfs import CpuTimes, parse_proc_stat

SECOND = 1_000_000_000
A, B, C = (Group(key=Key(letter * 64, "")) for letter in "abc")
NAMES = {A: "a", B: "b", C: "c"}
NOTHING = SystemReading(None, None, None)
NO_FIGURES = CgroupFigures(None, None, None, None, None, None)


def summary(top: int = 5, merges: bool = False, cpu_count: int = 0) -> Summary:
    """Return a summary of a run with a snapshot each second, which lists every group but C."""
    return Summary(SECOND, top, lambda group: group != C, merges, cpu_count)


def sample(
    at_seconds: float,
    groups: dict[Group, GroupSample] | None = None,
    system: SystemReading = NOTHING,
) -> Sample:
    """Return what a scan at a time of the run found."""
    return Sample(round(at_seconds * SECOND), system, groups or {})


def used(cpu_seconds: float, rss_bytes: int | None = 0, **figures: int) -> GroupSample:
    """Return a group with living processes or, without RSS, one that has ended."""
    found = NO_FIGURES._replace(**figures) if figures else None
    return GroupSample(round(cpu_seconds * SECOND), rss_bytes, rss_bytes, found)


def process(pid: int, group: Group = A, **fields: Any) -> Process:
    """Return a process of a container with these fields."""
    stat = f"{pid} (make) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 5 1 0 0 0 0\n"
    made = Process(parse_proc_stat(stat.encode()), Key("", "/"))
    made.group = group
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def payload(found: Summary, names: dict[Group, str] | None = None) -> dict[str, Any]:
    """Return the payload, with a limit for one container."""
    names = {group: NAMES[group] for group in found.groups} if names is None else names
    return found.payload(names, lambda group: Limit(2.0, None) if group == B else None)


def containers(found: Summary, names: dict[Group, str] | None = None) -> dict[str, Any]:
    """Return the containers of the payload by name."""
    return {entry["name"]: entry for entry in payload(found, names)["containers"]}


def test_the_first_snapshot_has_sizes_only() -> None:
    """One snapshot: sizes of one tick, no CPU rate; limits where there are some."""
    found = summary()
    found.start(sample(7, {A: used(1, 100), B: used(0, 50)}))
    assert (found.start_ns, found.end_ns, found.snapshot_count) == (7 * SECOND, 7 * SECOND, 1)
    assert found.groups == [A, B]
    by_name = containers(found)
    assert by_name["a"]["memory_bytes"]["peak"] == 100
    assert by_name["a"]["memory_anon_bytes"]["p50"] == 100
    assert by_name["a"]["sample_count"] == 1
    assert by_name["a"]["cpu_seconds"] == 0.0
    assert "cpu_cores" not in by_name["a"]
    assert "limits" not in by_name["a"]
    assert by_name["b"]["limits"] == {"cpu_cores": 2.0}


def test_an_interval_is_one_rate() -> None:
    """CPU time of an interval over its length is one value; time and snapshots are counted."""
    found = summary()
    found.start(sample(10, {A: used(0)}))
    found.snapshot(sample(12, {A: used(3), B: used(1)}))
    assert found.close_interval([]) is True
    assert found.close_interval([]) is False
    found.snapshot(sample(13, {A: used(0.5), B: used(0, None)}))
    assert found.close_interval([]) is True
    by_name = containers(found)
    assert by_name["a"]["cpu_cores"]["peak"] == 1.5
    assert by_name["a"]["cpu_cores"]["p50"] == 0.5
    assert by_name["a"]["cpu_seconds"] == 3.5
    assert by_name["b"]["cpu_cores"]["avg"] == 0.5
    assert by_name["b"]["sample_count"] == 1
    assert (payload(found)["duration_seconds"], payload(found)["sample_count"]) == (3.0, 3)


def test_what_has_ended_and_used_nothing_adds_nothing() -> None:
    """A group without memory counts in an interval only if it used CPU."""
    found = summary()
    found.start(sample(0, {A: used(0), B: used(0)}))
    found.snapshot(sample(1, {A: used(0, None), B: used(0.25, None)}))
    found.close_interval([])
    by_name = containers(found)
    assert "cpu_cores" not in by_name["a"]
    assert by_name["b"]["cpu_cores"]["peak"] == 0.25
    assert by_name["b"]["memory_bytes"]["peak"] == 0
    assert by_name["b"]["sample_count"] == 1


BEFORE = CpuTimes(100, 100, 100, 1000, 100, 100, 100, 100)


@pytest.mark.parametrize(
    ("growth", "percent"),
    [
        ({"user": 25, "idle": 75}, 25.0),
        ({"nice": 25, "iowait": 75}, 25.0),
        ({"steal": 100}, 100.0),
        ({"idle": 1}, 0.0),
        ({}, None),
        ({"idle": -1}, None),
        # a counter that goes backwards adds nothing: the others give half of the machine
        ({"user": 50, "idle": 50, "steal": -50}, 50.0),
        ({"user": 50, "idle": 50, "iowait": -40}, 50.0),
        ({"user": 50, "system": -1000, "iowait": 50}, 50.0),
        ({"user": 50, "idle": 50, "steal": 2**64 // 10**7}, 50.0),
    ],
)
def test_percent_of_the_machine(growth: dict[str, int], percent: float | None) -> None:
    """Busy ticks of all ticks, each counter by itself: between 0 and 100, or nothing."""
    after = BEFORE._replace(**{name: getattr(BEFORE, name) + n for name, n in growth.items()})
    assert _percent(BEFORE, after) == percent


def test_percent_of_a_machine_that_cannot_be_read() -> None:
    """Without a reading at both ends of the interval there is no percentage."""
    assert _percent(BEFORE, None) is None
    assert _percent(None, BEFORE) is None


def _percent(before: CpuTimes | None, after: CpuTimes | None) -> float | None:
    found = summary()
    found.start(sample(0, system=SystemReading(before, None, None)))
    found.snapshot(sample(1, system=SystemReading(after, None, None)))
    found.close_interval([])
    statistics = payload(found).get("cpu_total_percent")
    return statistics["peak"] if statistics else None


def test_memory_of_the_machine() -> None:
    """Used memory in bytes and percent, at most 100; a reading that failed changes nothing."""
    found = summary()
    found.start(sample(0, system=SystemReading(None, 250, 1000)))
    found.snapshot(sample(1, system=SystemReading(None, 2000, 1000)))
    found.snapshot(sample(2, system=SystemReading(None, 1, 0)))
    found.snapshot(sample(3, system=SystemReading(None, None, 1001)))
    assert found.mem_total_bytes == 1001
    found.snapshot(sample(4))
    assert found.mem_total_bytes == 1001
    result = payload(found)
    assert (result["mem_used_bytes"]["peak"], result["mem_used_bytes"]["avg"]) == (2000, 1125)
    assert (result["mem_used_percent"]["peak"], result["mem_used_percent"]["p50"]) == (100.0, 25.0)


def test_figures_of_the_kernel() -> None:
    """Counters of a cgroup add up, its sizes have statistics, its highest peak stays."""
    found = summary()
    found.start(sample(0, {A: used(0, 1, memory_bytes=10, working_set_bytes=5, peak_bytes=70)}))
    grown = {"cpu_ns": 2 * SECOND, "throttled_ns": SECOND, "oom_kills": 1, "peak_bytes": 60}
    found.snapshot(sample(1, {A: used(2, 1, memory_bytes=30, **grown), B: used(1, 1)}))
    found.close_interval([])
    by_name = containers(found)
    result = by_name["a"]
    assert result["cpu_source"] == "cgroup"
    assert result["memory_cgroup_bytes"]["peak"] == 30
    assert result["memory_cgroup_bytes"]["p50"] == 10
    assert result["memory_working_set_bytes"] == dict.fromkeys(result["memory_bytes"], 5)
    assert result["memory_peak_bytes"] == 70
    assert (result["oom_kills"], result["cpu_throttled_seconds"]) == (1, 1.0)
    assert by_name["b"]["cpu_source"] == "ledger"
    assert by_name["b"].keys().isdisjoint({"memory_cgroup_bytes", "memory_peak_bytes", "oom_kills"})


@pytest.mark.parametrize(("cpu_count", "peak"), [(2, 2.0), (0, 13.0)])
def test_no_rate_is_above_all_cpus(cpu_count: int, peak: float) -> None:
    """CPU time found late, here 13 s of an interval of 1 s, counts whole, its rate does not."""
    found = summary(cpu_count=cpu_count)
    found.start(sample(0))
    found.snapshot(sample(1, {A: used(5)}))
    found.credit(A, 8 * SECOND)
    burner = process(7, interval_ns=13 * SECOND, cpu_ns=13 * SECOND)
    found.close_interval([burner])
    found.retire([burner])
    made = payload(found)
    [container] = made["containers"]
    assert container["cpu_cores"]["peak"] == peak
    assert container["cpu_seconds"] == 13.0
    assert made["top_cpu_processes"][0]["peak_cpu_percent"] == 100 * peak


def test_a_peak_that_comes_with_sizes_only() -> None:
    """The first snapshot has no interval: its peak counts, and a lower one later does not."""
    found = summary()
    found.start(sample(0, {A: used(0, 1, peak_bytes=0)}))
    assert containers(found)["a"]["memory_peak_bytes"] == 0
    found = summary()
    found.start(sample(0, {A: used(0, 1, peak_bytes=9)}))
    found.snapshot(sample(1, {A: used(0, 1, peak_bytes=8)}))
    assert containers(found)["a"]["memory_peak_bytes"] == 9


def test_a_group_gets_another_name() -> None:
    """Renamed before there is anything else of that name: everything goes on under it, in place."""
    found = summary(merges=True)
    found.start(sample(0, {A: used(0, 7), B: used(0)}))
    found.snapshot(sample(1, {A: used(1, 7), B: used(1)}))
    new = Group(mapped_name="new")
    found.rename(A, new)
    found.rename(Group(mapped_name="unseen"), new)
    assert found.groups == [new, B]
    found.close_interval([])
    found.retire([process(1, A, peak_cores=1.0)])
    result = payload(found, {new: "new", B: "b"})
    by_name = {entry["name"]: entry for entry in result["containers"]}
    assert by_name["new"]["cpu_cores"]["peak"] == 1.0
    assert by_name["new"]["cpu_seconds"] == 1.0
    assert by_name["b"]["cpu_cores"]["peak"] == 1.0
    assert [entry["container"] for entry in result["top_cpu_processes"]] == ["new"]


def test_open_time_goes_to_the_new_name_as_it_is() -> None:
    """CPU time of the open interval is added to that of the new name, to the nanosecond."""
    found = summary(merges=True)
    found.start(sample(1, {A: GroupSample(0, 0, 0)}))
    found.snapshot(sample(1, {A: GroupSample(4, 0, 0), B: GroupSample(1, 0, 0)}))
    found.rename(A, B)
    found.close_interval([])
    entry = containers(found)["b"]
    assert (entry["cpu_cores"]["peak"], entry["sample_count"]) == (5.0, 2)


def test_every_figure_of_two_groups_is_added_by_its_tick() -> None:
    """Values of the same tick are one value, those of different ticks are two."""
    found = summary(merges=True)
    low = {"memory_bytes": 10, "working_set_bytes": 4}
    high = {"memory_bytes": 30, "working_set_bytes": 8}
    found.start(sample(0, {A: used(0, 10, **low), B: used(0, 20, **low)}))
    for second, cores, figures in ((1, 0.25, low), (2, 1.0, high)):
        found.snapshot(sample(second, {A: used(cores, 10, **figures), B: used(0.5, 20, **figures)}))
        found.close_interval([])
    found.rename(A, B)
    entry = containers(found)["b"]
    assert (entry["cpu_cores"]["peak"], entry["cpu_cores"]["p50"]) == (1.5, 0.75)
    assert (entry["memory_anon_bytes"]["peak"], entry["memory_anon_bytes"]["avg"]) == (30, 30)
    result = [entry[f"memory_{name}_bytes"] for name in ("cgroup", "working_set")]
    assert [(one["peak"], one["p50"]) for one in result] == [(60, 20), (16, 8)]


def test_groups_that_cannot_become_one_stay_two() -> None:
    """Without the tick of each value two cgroups stay two entries, and two names."""
    found = Summary(SECOND, 5, lambda group: True)
    found.start(sample(0, {A: used(0, 10), B: used(0, 20)}))
    found.rename(A, B)
    assert found.groups == [A, B]
    found.retire([process(1, A, peak_cores=1.0)])
    result = payload(found, {A: "a", B: "b"})
    assert [entry["container"] for entry in result["top_cpu_processes"]] == ["a"]


def test_too_many_values_make_percentiles_coarse() -> None:
    """Beyond the budget of memory the payload says by which method its percentiles are."""
    found = summary()
    groups = {Group(mapped_name=str(number)): used(0, 10) for number in range(1000)}
    found.start(sample(0, groups))
    for second in range(BUDGET_BYTES // 8 // 2000):
        assert payload(found, {})["percentile_method"] == "nearest_rank"
        found.snapshot(sample(second, groups))
    assert payload(found, {})["percentile_method"] == "log_buckets"
