"""Pids that no snapshot has shown and that no visible process can have made, between scans."""

from __future__ import annotations

import pytest

from runmeter.collector.processes.births import Births
from runmeter.collector.processes.process import Process
from runmeter.procfs import parse_proc_stat


def table(*pids: int, new: tuple[int, ...] = ()) -> dict[int, Process]:
    """Return processes with these pids, those in ``new`` first seen in this scan."""
    found = {}
    for pid in (*pids, *new):
        numbers = " ".join(["0"] * 20)
        found[pid] = Process(parse_proc_stat(f"{pid} (work) S 1 {numbers}".encode()))
        found[pid].seen_scans = 1 if pid in new else 2
    return found


@pytest.fixture
def births() -> Births:
    """Return the count of a namespace whose newest pid was 100."""
    births = Births()
    births.settle(100, table(1, 50), 0)
    return births


def test_without_an_interval_it_is_unknown(births: Births) -> None:
    """One scan says nothing, and a newest pid that is not known neither."""
    assert births.count is None
    births.settle(None, table(1, 50), 0)
    births.settle(110, table(1, 50), 0)
    assert births.count is None


def test_nothing_was_made(births: Births) -> None:
    """With the same newest pid it is known to be none."""
    births.settle(100, table(1, 50), 0)
    assert births.count == 0


def test_those_that_were_seen_do_not_count(births: Births) -> None:
    """A process that is in the table counts neither now nor, if it is newer, in the next scan."""
    births.settle(110, table(1, 50, new=(104, 111)), 0)
    assert births.count == 9
    births.settle(112, table(1, 50, 104, 111), 0)
    assert births.count == 10


def test_page_faults_may_be_of_others(births: Births) -> None:
    """A visible process may have made as many pids as it had page faults."""
    births.settle(110, table(1, 50), 7)
    assert births.count == 3
    births.settle(120, table(1, 50), 300)
    assert births.count == 3


def test_pids_that_begin_again(births: Births) -> None:
    """After the highest pid an interval does not count, nor one in which numbers are in use."""
    births.settle(30_000, table(1, 50, new=(29_999,)), 0)
    known = births.count
    births.settle(310, table(1, 50, 29_999), 0)
    births.settle(400, table(1, 50, 29_999), 0)
    assert births.count == known
