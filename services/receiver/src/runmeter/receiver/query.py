"""Use cases: list the runs of a scope, and the scopes that have runs."""

import hashlib
import json
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import NamedTuple

from runmeter.receiver.errors import OtherCase
from runmeter.receiver.model import GroupFilter, GroupPage, ListedRun, RunFilter, StoredRun
from runmeter.receiver.store.groups import list_groups
from runmeter.receiver.store.names import find_names
from runmeter.receiver.store.runs import find_runs, read_runs

PAGE_MAX_RUNS = 100
PAGE_MAX_BYTES = 2**20


class Listing(NamedTuple):
    """The runs that answer a query, without payloads, newest first."""

    wanted: RunFilter
    now_ms: int
    runs: list[ListedRun]
    next_before_id: int | None
    etag: str


async def find(wanted: RunFilter) -> Listing:
    """Find the runs that answer a query, without reading a payload.

    Raises:
        OtherCase: the scope has no runs at all, but the same names in another case have.
        StoreUnavailable: the database cannot be read.
    """
    now_ms = int(time.time() * 1000)
    runs = await find_runs(wanted, now_ms)
    if not runs:
        await _refuse_other_case(wanted.scope)
    more = len(runs) > wanted.limit
    runs = runs[: wanted.limit]
    next_before_id = runs[-1].id if more else None
    return Listing(wanted, now_ms, runs, next_before_id, etag_of(runs, next_before_id))


async def pages(listing: Listing) -> AsyncIterator[tuple[StoredRun, ...]]:
    """Yield the runs with their payloads, in pages that are never empty.

    A run that was deleted since the listing, or moved out of the wanted states, is left out.
    """
    for page in pages_of(listing.runs):
        stored = await read_runs((run.id for run in page), listing.now_ms)
        found = tuple(
            stored[run.id]
            for run in page
            if run.id in stored and stored[run.id].state in listing.wanted.states
        )
        if found:
            yield found


async def find_groups(wanted: GroupFilter) -> GroupPage:
    """Find one page of repositories or jobs; an unknown repository has no jobs.

    Raises:
        OtherCase: the repository has no runs, but the same names in another case have.
        StoreUnavailable: the database cannot be read.
    """
    groups = await list_groups(wanted, int(time.time() * 1000))
    if not groups and wanted.within:
        await _refuse_other_case(wanted.within)
    more = len(groups) > wanted.limit
    groups = groups[: wanted.limit]
    return GroupPage(groups, groups[-1].names if more else None)


async def _refuse_other_case(wanted: tuple[str, ...]) -> None:
    stored = await find_names(wanted)
    if stored and wanted not in stored:
        raise OtherCase(stored[0])


def pages_of(runs: Iterable[ListedRun]) -> Iterator[list[ListedRun]]:
    """Split into pages of up to 100 runs or 1 MiB of payload; a larger run has its own page."""
    page: list[ListedRun] = []
    size_bytes = 0
    for run in runs:
        size_bytes += run.payload_size_bytes
        if page and (len(page) == PAGE_MAX_RUNS or size_bytes > PAGE_MAX_BYTES):
            yield page
            page, size_bytes = [], run.payload_size_bytes
        page.append(run)
    if page:
        yield page


def etag_of(runs: list[ListedRun], next_before_id: int | None) -> str:
    """Digest what can change: the ids, and of each run revision, state as read and update."""
    facts = [[run.id, run.revision, int(run.state), run.updated_at_ms] for run in runs]
    text = json.dumps([next_before_id, facts], separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:32]
