"""List the runs in the spool."""

import os
from typing import Any, NamedTuple

from runmeter.collector.errors import GoneError, LaterError, SpoolError
from runmeter.collector.spool.folder import REJECTED_FOLDER, below_of, path_of, push_ids
from runmeter.collector.spool.locks import is_held
from runmeter.collector.spool.waiting import read_document


class Spooled(NamedTuple):
    """One run: ``live`` (a process owns it), ``waiting``, ``rejected``, ``later``
    (a later version wrote it) or ``unreadable``. ``reason``: why it is rejected or cannot be
    read; of a waiting run, why the receiver refused the last token."""

    what: str
    push_id: str
    path: str
    size_bytes: int
    run: dict[str, Any]
    reason: str


def entries(folder: str) -> list[Spooled]:
    """Return the waiting, then the rejected runs of the spool, each by time of writing.

    Nothing is changed: a file that is not a run is shown as unreadable, and set aside by a push.
    """
    found = []
    for below in ("", REJECTED_FOLDER):
        listed = []
        place = below_of(folder, below)
        for push_id in push_ids(place):
            path = path_of(place, push_id)
            try:
                status = os.lstat(path)
            except OSError:
                continue
            entry = _entry(folder, below, push_id, path, status.st_size)
            if entry is not None:
                listed.append((status.st_mtime_ns, entry))
        found += [entry for _, entry in sorted(listed, key=lambda pair: pair[0])]
    return found


def _entry(folder: str, below: str, push_id: str, path: str, size_bytes: int) -> Spooled | None:
    try:
        document = read_document(path, push_id)
    except GoneError:
        return None
    except SpoolError as error:
        what = "later" if isinstance(error, LaterError) else "unreadable"
        return Spooled(what, push_id, path, size_bytes, {}, str(error))
    run = document["run"]
    reason = str(document.get("reason", ""))
    if is_held(folder, push_id):
        return Spooled("live", push_id, path, size_bytes, run, "")
    return Spooled("rejected" if below else "waiting", push_id, path, size_bytes, run, reason)
