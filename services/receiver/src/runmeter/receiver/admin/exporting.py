"""Write all runs as lines."""

import functools

from runmeter.receiver.admin import lines
from runmeter.receiver.admin.progress import Progress
from runmeter.receiver.admin.streams import in_thread, wait_or_stop, write_all
from runmeter.receiver.ending import Stop
from runmeter.receiver.errors import StreamUnusable
from runmeter.receiver.store import archive


class Exporting:
    """Writes to standard output, a page at a time; ``run_count`` runs are written."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self.run_count = 0

    async def run(self, stop: Stop) -> None:
        """Write the runs stored now, in the order they were stored.

        Raises:
            StoreUnavailable: the database cannot be read.
            BrokenPipeError: the reader has closed the output.
            StreamUnusable: the output cannot be written.
            Interrupted: a signal came; the end line is missing.
        """
        last_id = await wait_or_stop(stop, archive.newest_id())
        await self._write(lines.header_line(), stop)
        after_id = 0
        while page := await wait_or_stop(stop, archive.read_page(after_id, last_id)):
            await self._write(b"".join(map(lines.run_line, page)), stop)
            after_id = page[-1].id
            self.run_count += len(page)
            self._progress.show(self.run_count)
        await self._write(lines.end_line(self.run_count), stop)

    async def _write(self, content: bytes, stop: Stop) -> None:
        try:
            await wait_or_stop(stop, in_thread(functools.partial(write_all, 1, content)))
        except BrokenPipeError:
            raise
        except OSError as error:
            raise StreamUnusable("write standard output", error.strerror or str(error)) from error
