"""Log lines, and descriptors that take none."""

import json
import os
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runmeter.collector.log import Log, render, write_line

HEAD = {"timestamp": "2026-02-06T14:30:02.185Z", "level": "info", "event": "run.started"}


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


def test_json_lines_begin_with_time_level_event() -> None:
    """One line of JSON: the three keys of every event, then its own in their order."""
    line = render("json", {**HEAD, "reason": "é\n", "count": 1})
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
    """No value breaks a line or hides in it."""
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
