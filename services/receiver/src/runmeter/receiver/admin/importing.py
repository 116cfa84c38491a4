"""Store the runs of an export, by the rules for pushes."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import structlog

from runmeter.receiver import events
from runmeter.receiver.admin import lines
from runmeter.receiver.admin.progress import Progress
from runmeter.receiver.admin.retrying import retry_while_unavailable
from runmeter.receiver.admin.streams import in_thread, wait_or_stop
from runmeter.receiver.ending import Stop
from runmeter.receiver.errors import CallError, LineRejected, StoreUnavailable, StreamUnusable
from runmeter.receiver.model import Push, Receipt, Rename
from runmeter.receiver.store.writer import Writer


class Counts(NamedTuple):
    """Lines of runs that were read, with their results; lines that were rejected."""

    read: int = 0
    stored: int = 0
    replaced: int = 0
    duplicates: int = 0
    rejected: int = 0


class Importing:
    """Reads groups of lines until one is empty; ``counts`` and ``complete`` are the result."""

    def __init__(
        self,
        read: Callable[[], Sequence[bytes]],
        writer: Writer,
        skip_bad: bool,
        rename: Rename | None,
        progress: Progress,
    ) -> None:
        self._read = read
        self._writer = writer
        self._skip_bad = skip_bad
        self._rename = rename
        self._progress = progress
        self._line = 0
        self._in_section = False
        self._section_count = 0
        self.counts = Counts()
        self.complete = False

    async def run(self, stop: Stop) -> None:
        """Store the runs read, group by group; a bad line ends the import or is skipped.

        ``complete`` is true if the stream ended with its end line and nothing was left out.

        Raises:
            StoreUnavailable: the database cannot be written.
            StreamUnusable: the input cannot be read.
            Interrupted: a signal came; the group it came in is stored or not read.
        """
        try:
            while group := await wait_or_stop(stop, in_thread(self._read)):
                if not await self._store(group, stop):
                    return
                self._progress.show(self.counts.read)
        except OSError as error:
            raise StreamUnusable("read the input", error.strerror or str(error)) from error
        if self._in_section or not self._line:
            structlog.get_logger().error(events.IMPORT_CUT, line=self._line)
        else:
            self.complete = not self.counts.rejected

    async def _store(self, group: Sequence[bytes], stop: Stop) -> bool:
        """Store the runs of a group of lines; return whether to go on."""
        pushes: dict[int, Push] = {}
        bad: dict[int, Exception] = {}
        for raw in group:
            self._line += 1
            try:
                push = self._parse(raw)
            except LineRejected as error:
                bad[self._line] = error
                if not self._may_continue():
                    break
            else:
                if push is not None:
                    pushes[self._line] = push
        self.counts = self.counts._replace(read=self.counts.read + len(pushes))
        bad |= await self._write(pushes, stop)
        for line, refusal in sorted(bad.items()):
            structlog.get_logger().error(events.LINE_REJECTED, line=line, reason=str(refusal))
        self.counts = self.counts._replace(rejected=self.counts.rejected + len(bad))
        return not bad or self._may_continue()

    def _may_continue(self) -> bool:
        # after a line out of place the rest of the stream cannot be trusted
        return self._skip_bad and self._in_section

    async def _write(self, pushes: dict[int, Push], stop: Stop) -> dict[int, Exception]:
        """Store runs by line number; return those that are refused."""
        answers: dict[int, Receipt | Exception] = {}

        async def write() -> None:
            left = {line: push for line, push in pushes.items() if line not in answers}
            found = await asyncio.gather(
                *map(self._writer.write, left.values()), return_exceptions=True
            )
            failed = None
            for line, answer in zip(left, found, strict=True):
                if isinstance(answer, StoreUnavailable):
                    failed = answer
                elif isinstance(answer, (Receipt, CallError)):
                    answers[line] = answer
                else:
                    raise answer
            if failed is not None:
                raise failed

        try:
            await retry_while_unavailable(write, stop)
        finally:
            self._count(answers.values())
        return {line: a for line, a in answers.items() if isinstance(a, Exception)}

    def _count(self, answers: Iterable[Receipt | Exception]) -> None:
        receipts = [answer for answer in answers if isinstance(answer, Receipt)]
        duplicates = sum(receipt.duplicate for receipt in receipts)
        replaced = sum(receipt.replaced for receipt in receipts)
        self.counts = self.counts._replace(
            stored=self.counts.stored + len(receipts) - duplicates - replaced,
            replaced=self.counts.replaced + replaced,
            duplicates=self.counts.duplicates + duplicates,
        )

    def _parse(self, raw: bytes) -> Push | None:
        """Return the run of a line, None for one that holds none.

        Raises:
            LineRejected: it cannot be read, or not at this place.
        """
        if not self._in_section:
            if not isinstance(lines.parse_line(raw), lines.Header):
                raise LineRejected("the first line of an export was expected")
            self._in_section, self._section_count = True, 0
            return None
        self._section_count += 1
        parsed = lines.parse_line(raw)
        if isinstance(parsed, Push):
            return self._rename.apply(parsed) if self._rename else parsed
        self._in_section = False
        if isinstance(parsed, lines.Header):
            raise LineRejected("an export begins before the previous one has ended")
        found_count = self._section_count - 1
        if parsed.run_count != found_count:
            raise LineRejected(
                f"the export has {parsed.run_count} runs, but {found_count} lines come before"
            )
        return None
