"""Use cases: list the runs of a scope, and the scopes that have runs."""

import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from typing import NamedTuple

from runmeter.receiver.errors import OtherCase
from runmeter.receiver.model import (
    GroupFilter,
    GroupPage,
    ListedRun,
    RunFilter,
    RunGroup,
    StoredRun,
)

PAGE_MAX_RUNS = 100
PAGE_MAX_BYTES = 2**20

FindRuns = Callable[[RunFilter, int], Awaitable[list[ListedRun]]]
ReadRuns = Callable[[Iterable[int], int], Awaitable[dict[int, StoredRun]]]
ListGroups = Callable[[GroupFilter, int], Awaitable[list[RunGroup]]]
FindNames = Callable[[tuple[str, ...]], Awaitable[list[tuple[str, ...]]]]


class Listing(NamedTuple):
    """The runs that answer a query, without payloads, newest first."""

    wanted: RunFilter
    now_ms: int
    runs: list[ListedRun]
    next_before_id: int | None
    etag: str


class RunQuery:
    """Lists runs. ``clock`` returns unix seconds."""

    def __init__(
        self,
        find_runs: FindRuns,
        read_runs: ReadRuns,
        find_names: FindNames,
        clock: Callable[[], float],
    ) -> None:
        self._find_runs = find_runs
        self._read_runs = read_runs
        self._find_names = find_names
        self._clock = clock

    async def find(self, wanted: RunFilter) -> Listing:
        """Find the runs that answer a query, without reading a payload.

        Raises:
            OtherCase: the scope has no runs at all, but the same names in another case have.
        """
        now_ms = int(self._clock() * 1000)
        runs = await self._find_runs(wanted, now_ms)
        if not runs:
            await _refuse_other_case(wanted.scope, self._find_names)
        more = len(runs) > wanted.limit
        runs = runs[: wanted.limit]
        next_before_id = runs[-1].id if more else None
        return Listing(wanted, now_ms, runs, next_before_id, _etag(runs, next_before_id))

    async def pages(self, listing: Listing) -> AsyncIterator[tuple[StoredRun, ...]]:
        """Yield the runs with their payloads, in pages that are never empty.

        A run that a push moved out of the wanted states since the listing is left out.
        """
        for page in pages_of(listing.runs):
            stored = await self._read_runs((run.id for run in page), listing.now_ms)
            found = tuple(
                stored[run.id]
                for run in page
                if run.id in stored and stored[run.id].state in listing.wanted.states
            )
            if found:
                yield found


class GroupQuery:
    """Lists repositories and jobs that have runs. ``clock`` returns unix seconds."""

    def __init__(
        self, list_groups: ListGroups, find_names: FindNames, clock: Callable[[], float]
    ) -> None:
        self._list_groups = list_groups
        self._find_names = find_names
        self._clock = clock

    async def find(self, wanted: GroupFilter) -> GroupPage:
        """Find one page; an unknown repository has no entries.

        Raises:
            OtherCase: the repository has no runs, but the same names in another case have.
        """
        groups = await self._list_groups(wanted, int(self._clock() * 1000))
        if not groups and wanted.within:
            await _refuse_other_case(wanted.within, self._find_names)
        more = len(groups) > wanted.limit
        groups = groups[: wanted.limit]
        return GroupPage(groups, groups[-1].names if more else None)


async def _refuse_other_case(wanted: tuple[str, ...], find_names: FindNames) -> None:
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


def _etag(runs: list[ListedRun], next_before_id: int | None) -> str:
    """Digest what can change: the ids, and of each run revision, state as read and update."""
    facts = [[run.id, run.revision, int(run.state), run.updated_at_ms] for run in runs]
    text = json.dumps([next_before_id, facts], separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:32]
