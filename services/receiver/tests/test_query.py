"""runmeter.receiver.query: pages and etag, over a store of plain values."""

import asyncio
from collections.abc import Iterable

from runmeter.receiver.model import ListedRun, RunFilter, RunState, Scope, StoredRun
from runmeter.receiver.query import PAGE_MAX_BYTES, RunQuery, pages_of

DONE = frozenset((RunState.COMPLETED, RunState.INTERRUPTED))
WANTED = RunFilter(Scope("o", "o/r", "w", "j"), 3, None, None, None, None, DONE)


def listed(run_id: int, size_bytes: int = 10) -> ListedRun:
    """Return a listed run."""
    return ListedRun(run_id, 1, RunState.COMPLETED, 5, 6, size_bytes)


class Rows:
    """A store that holds plain values and notes what is read of them."""

    def __init__(self, runs: list[ListedRun], gone: Iterable[int] = ()) -> None:
        self.runs = runs
        self.gone = set(gone)
        self.reads: list[list[int]] = []
        self.state = RunState.COMPLETED

    async def find_runs(self, wanted: RunFilter, now_ms: int) -> list[ListedRun]:
        """Return the first limit + 1."""
        return self.runs[: wanted.limit + 1]

    async def find_names(self, wanted: tuple[str, ...]) -> list[tuple[str, ...]]:
        """Return no names."""
        return []

    async def read_runs(self, ids: Iterable[int], now_ms: int) -> dict[int, StoredRun]:
        """Return those that are not gone."""
        asked = list(ids)
        self.reads.append(asked)
        return {i: StoredRun(i, self.state, 5, 6, b"p") for i in asked if i not in self.gone}


def ask(rows: Rows) -> tuple[int | None, str, list[list[int]]]:
    """Return next_before_id, etag and the ids of each page."""

    async def run() -> tuple[int | None, str, list[list[int]]]:
        query = RunQuery(rows.find_runs, rows.read_runs, rows.find_names, lambda: 1.0)
        listing = await query.find(WANTED)
        assert rows.reads == []
        pages = [[run.id for run in page] async for page in query.pages(listing)]
        return listing.next_before_id, listing.etag, pages

    return asyncio.run(run())


def test_more_is_told_by_one_row_too_many() -> None:
    """With more rows than the limit, the last one answered is the next before_id."""
    next_before_id, _, pages = ask(Rows([listed(i) for i in (9, 7, 5, 3)]))
    assert next_before_id == 5
    assert pages == [[9, 7, 5]]


def test_exactly_the_limit_is_all() -> None:
    """As many rows as the limit: there is no next page."""
    assert ask(Rows([listed(i) for i in (9, 7, 5)]))[0] is None


def test_no_runs_are_no_pages() -> None:
    """An empty answer reads no payload."""
    rows = Rows([])
    assert ask(rows)[2] == []
    assert rows.reads == []


def test_runs_gone_since_the_listing_are_left_out() -> None:
    """Rows deleted, or moved to a state not asked for, leave no hole and no empty page."""
    assert ask(Rows([listed(2), listed(1)], gone=[2]))[2] == [[1]]
    assert ask(Rows([listed(2), listed(1)], gone=[1, 2]))[2] == []
    rows = Rows([listed(1)])
    rows.state = RunState.RUNNING
    assert ask(rows)[2] == []


def test_pages_hold_100_runs_or_1_mib() -> None:
    """A page is cut at 100 runs, or before it would exceed 1 MiB; a larger run stands alone."""
    assert [len(p) for p in pages_of(listed(i) for i in range(250))] == [100, 100, 50]
    half = PAGE_MAX_BYTES // 2
    sizes = (half, half, 1, PAGE_MAX_BYTES + 5, 1)
    pages = list(pages_of(listed(i, size) for i, size in enumerate(sizes)))
    assert [[run.id for run in page] for page in pages] == [[0, 1], [2], [3], [4]]


def test_etag_changes_with_every_change_and_only_then() -> None:
    """Revision, state as read, update, another row or more rows: another etag."""
    base = [listed(2), listed(1)]
    etags = [ask(Rows(base))[1]]
    changed = base[0]._replace
    for first in (
        changed(revision=2),
        changed(state=RunState.INTERRUPTED),
        changed(updated_at_ms=7),
    ):
        etags.append(ask(Rows([first, base[1]]))[1])
    etags.append(ask(Rows([listed(3), listed(2), listed(1)]))[1])
    etags.append(ask(Rows([listed(3), listed(2), listed(1), listed(0)]))[1])
    etags.append(ask(Rows([]))[1])
    assert len(set(etags)) == len(etags)
    assert ask(Rows(base))[1] == etags[0]
