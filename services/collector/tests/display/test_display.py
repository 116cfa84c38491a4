"""Log lines, the line per sample, the table, and descriptors nobody reads."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runmeter.collector.display.run import table
from runmeter.collector.display.sample import sample_fields, sample_text
from runmeter.collector.log import Log, render, write_line
from runmeter.collector.model import Group, GroupSample, Key, Limit, Sample, SystemReading
from runmeter.collector.processes.process import Process
from runmeter.collector.text import rfc3339, size
from runmeter.procfs import parse_proc_stat

HEAD = {"timestamp": "2026-02-06T14:30:02.185Z", "level": "info", "event": "run.started"}
RUNNER, CRON = Group(mapped_name="runner"), Group(Key("", "/cron"))


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Return both ends of a pipe."""
    reading, writing = os.pipe()
    yield reading, writing
    for descriptor in (reading, writing):
        try:
            os.close(descriptor)
        except OSError:
            continue


def _process(pid: int, interval_ns: int, rss_bytes: int, group: Group = RUNNER) -> Process:
    fields = " ".join(["S", "1", *["0"] * 21])
    process = Process(parse_proc_stat(f"{pid} (work{pid}) {fields}".encode()), Key("", "/"))
    process.interval_ns, process.rss_bytes, process.group = interval_ns, rss_bytes, group
    return process


def _samples() -> tuple[Sample, Sample]:
    before = Sample(0, SystemReading(100, 200, 50, 100), {})
    groups = {
        RUNNER: GroupSample(10**9, 512, 100),
        CRON: GroupSample(0, 64, 0),
        Group(Key("", "/hidden")): GroupSample(5, 5, 5),
    }
    return before, Sample(2 * 10**9, SystemReading(175, 300, 1024 * 1024, 2**21), groups)


LIMITS = {"runner": Limit(2.0, 1024)}


def _fields(before: Sample | None, after: Sample, top: int = 2) -> dict[str, Any]:
    processes = [
        _process(5, 10**8, 100),
        _process(6, 10**9, 10),
        _process(7, 0, 300, CRON),
        _process(8, 0, 300, Group(Key("", "/hidden"))),
    ]
    return sample_fields(after, before, {RUNNER: "runner", CRON: "cron"}, LIMITS, processes, top)


def test_times_are_rfc_3339_with_milliseconds() -> None:
    """A time is written in UTC with three decimals and a Z."""
    assert rfc3339(1770388202185) == "2026-02-06T14:30:02.185Z"
    assert rfc3339(0) == "1970-01-01T00:00:00.000Z"


def test_json_lines_begin_with_time_level_event() -> None:
    """One line of JSON: the three keys of every event, then its own in their order."""
    line = render("json", {"reason": "é\n", **HEAD, "count": 1})
    assert line == (
        '{"timestamp":"2026-02-06T14:30:02.185Z","level":"info","event":"run.started",'
        '"reason":"\\u00e9\\n","count":1}'
    )


def test_text_lines_are_for_people() -> None:
    """Time, level, event, then key=value; quoted where a value would not read as one word."""
    line = render(
        "text", {**HEAD, "a": "x", "b": "two words", "c": "", "d": 1.5, "e": [1], "f": "="}
    )
    assert line == (
        '2026-02-06T14:30:02.185Z info    run.started a=x b="two words" c="" d=1.5 e=[1] f="="'
    )


@given(st.sampled_from(["json", "text"]), st.text(), st.text())
def test_an_event_is_always_one_line(log_format: str, key: str, value: str) -> None:
    """No value, whatever it holds, breaks a line or hides in it."""
    line = render(log_format, {"value": value, **HEAD})
    assert len(line.splitlines()) == 1
    assert line.isprintable()
    if log_format == "json":
        assert json.loads(line)["value"] == value


def test_the_log_writes_from_its_level_on(pipe: tuple[int, int]) -> None:
    """Events below the level are left out; each other one is a line on the descriptor."""
    reading, writing = pipe
    log = Log("json", "warning", writing)
    log.write("info", "run.started")
    log.write("warning", "sample.failed", reason="x")
    log.write("error", "run.kept", path="/p")
    os.close(writing)
    with open(reading, closefd=False) as file:
        lines = [json.loads(line) for line in file]
    assert [line["event"] for line in lines] == ["sample.failed", "run.kept"]
    assert list(lines[0]) == ["timestamp", "level", "event", "reason"]
    assert not log.is_debug
    assert Log("json", "debug").is_debug


def test_names_that_are_no_text_are_written(pipe: tuple[int, int]) -> None:
    """A lone surrogate, as the environment may hold, is escaped and loses nothing else."""
    reading, writing = pipe
    write_line(writing, "a\udcffb")
    assert os.read(reading, 100) == b"a\\udcffb\n"


def test_a_pipe_nobody_reads_loses_the_line_only(pipe: tuple[int, int]) -> None:
    """Writing to a pipe that is closed at its other end is no error."""
    reading, writing = pipe
    os.close(reading)
    write_line(writing, "x" * 100_000)


def test_a_full_device_loses_the_line_only() -> None:
    """Writing where there is no space is no error, nor to a descriptor that is closed."""
    descriptor = os.open("/dev/full", os.O_WRONLY)
    write_line(descriptor, "x")
    os.close(descriptor)
    write_line(descriptor, "x")


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
    fields = sample_fields(after, before, {RUNNER: "runner#2"}, LIMITS, [], 5)
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
    nothing = Sample(10**9, SystemReading(None, None, None, None), {})
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


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (18567168, "17.7 MiB"),
        (2**30, "1.0 GiB"),
        (5 * 2**40, "5.0 TiB"),
        (2**60, "1048576.0 TiB"),
    ],
)
def test_sizes_have_binary_units(count: int, text: str) -> None:
    """A size is shown in the largest unit that leaves at least one."""
    assert size(count) == text


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
    """Without containers and processes the run itself is left."""
    payload = {
        "duration_seconds": 0.0,
        "sample_count": 2,
        "containers": [],
        "top_cpu_processes": [],
    }
    assert table(payload).startswith("0.0 s · 2 snapshots\n")
