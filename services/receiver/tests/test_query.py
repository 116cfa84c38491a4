"""runmeter.receiver.query: pages, etag, runs that change while they are answered."""

import asyncio
from collections.abc import Callable
from typing import Any

from rig.receiver import WithWriter, push_id

from runmeter.receiver import query
from runmeter.receiver.model import ListedRun, Push, RunFilter, RunState
from runmeter.receiver.query import PAGE_MAX_BYTES, etag_of, pages_of
from runmeter.receiver.store.writer import Writer

DONE = frozenset((RunState.COMPLETED, RunState.INTERRUPTED))


def listed(run_id: int, size_bytes: int = 10) -> ListedRun:
    """Return a listed run."""
    return ListedRun(run_id, 1, RunState.COMPLETED, 5, 6, size_bytes)


def test_runs_gone_since_the_listing_are_left_out(
    kept: Any, make: Callable[..., Push], with_writer: WithWriter
) -> None:
    """Rows deleted, or moved to a state not asked for, leave no hole and no empty page."""

    async def use(writer: Writer) -> None:
        pushes = [make(push_id=push_id(n)) for n in range(3)]
        await asyncio.gather(*map(writer.write, pushes))
        wanted = RunFilter(pushes[0].scope, 3, None, None, None, None, DONE)
        for change, left in (
            ("SELECT 1", [[3, 2, 1]]),
            ("DELETE FROM run WHERE id = 2", [[3, 1]]),
            ("UPDATE run SET state = 1 WHERE id = 3", [[1]]),
            ("DELETE FROM run", []),
        ):
            listing = await query.find(wanted)
            assert listing.next_before_id is None
            kept.execute(change)
            assert [[run.id for run in page] async for page in query.pages(listing)] == left

    with_writer(kept.where, use)


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
    changed = base[0]._replace
    lists = [
        base,
        [changed(revision=2), base[1]],
        [changed(state=RunState.INTERRUPTED), base[1]],
        [changed(updated_at_ms=7), base[1]],
        [listed(3), *base],
        [],
    ]
    etags = {etag_of(runs, more) for runs in lists for more in (None, 1)}
    assert len(etags) == 2 * len(lists)
    assert etag_of([listed(2), listed(1)], None) == etag_of(base, None)
