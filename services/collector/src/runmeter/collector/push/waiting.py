"""The runs that wait in the spool, pushed one after the other."""

from collections.abc import Callable, Iterator
from time import monotonic_ns
from typing import Any

from runmeter.collector.errors import ForeignError, GoneError, HeldError, SpoolError
from runmeter.collector.model import REJECTED, Acknowledgement, Outcome
from runmeter.collector.push.delivery import Kind, PushError
from runmeter.collector.spool import advice, waiting
from runmeter.collector.spool.folder import (
    below_of,
    path_of,
    push_ids,
    remove_file,
    sweep,
)
from runmeter.collector.spool.waiting import Claim, claim, scope_of

Scope = tuple[str, str, str, str]
_ENDLESS = (Kind.UNUSABLE, Kind.MISDIRECTED)  # what no other run would fare better with
_SHORT_NS = 3_000_000_000
_BUSY_RUNS = 2  # so many in a row that could not be delivered: the receiver is not there


class SpoolPusher:
    """Pushes what waits, as long as that makes sense.

    ``deliver(run, deadline_ns)`` pushes one run. ``budget_ns()`` is how long the next one may
    be tried; zero or less ends it all.
    """

    def __init__(
        self,
        folder: str,
        log: Any,
        deliver: Callable[[dict[str, Any], int], Acknowledgement],
        budget_ns: Callable[[], int],
    ) -> None:
        self._folder = folder
        self._log = log
        self._deliver = deliver
        self._budget_ns = budget_ns
        self._refused: dict[Scope, str] = {}  # scopes the token is not for
        self._busy_count = 0
        self._end = ""  # why no more are tried

    def push(self, scope: Scope | None = None, below: str = "") -> Iterator[Outcome]:
        """Push every run that nobody owns; of one scope only, if given."""
        sweep(self._folder)
        for push_id in push_ids(below_of(self._folder, below)):
            try:
                with claim(self._folder, push_id, below) as found:
                    if scope is None or scope_of(found.run) == scope:
                        yield self._push(found)
            except GoneError:
                continue
            except HeldError as error:
                path = path_of(self._folder, push_id)
                yield Outcome("live", push_id, path, None, str(error), None)
            except SpoolError as error:
                yield self._unread(push_id, below, error)

    def _unread(self, push_id: str, below: str, error: SpoolError) -> Outcome:
        path = path_of(below_of(self._folder, below), push_id)
        if isinstance(error, ForeignError):
            set_aside(self._folder, path, self._log, str(error))
        else:
            self._log.warning("run.unreadable", path=path, reason=str(error))
        return Outcome("kept", push_id, path, None, str(error), None)

    def _push(self, found: Claim) -> Outcome:
        scope = scope_of(found.run)
        budget_ns = self._budget_ns()
        if self._end or scope in self._refused or budget_ns <= 0:
            reason = self._end or self._refused.get(scope) or "no time was left"
            hint = advice.kept(self._folder)
            if scope in self._refused:
                note_refusal(found, self._log, self._refused[scope])
                hint = advice.other_token(found.run, self._folder)
            return Outcome("kept", found.push_id, found.path, found.run, reason, None, hint)
        try:
            if self._busy_count:
                budget_ns = min(budget_ns, _SHORT_NS)  # it may have choked on one run only
            stored = self._deliver(found.run, monotonic_ns() + budget_ns)
        except PushError as error:
            return self._refuse(found, scope, error)
        self._busy_count = 0
        drop(found.path, self._log)
        return Outcome("pushed", found.push_id, found.path, found.run, "", stored)

    def _refuse(self, found: Claim, scope: Scope, error: PushError) -> Outcome:
        reason = str(error)
        self._busy_count = self._busy_count + 1 if error.kind is Kind.BUSY else 0
        if error.kind in _ENDLESS or self._busy_count >= _BUSY_RUNS:
            self._end = reason
        if error.kind is Kind.TOKEN:
            self._refused[scope] = reason
            note_refusal(found, self._log, reason)
        path = found.path
        if error.kind is Kind.INVALID:
            path = reject(self._folder, found, self._log, reason)
        what = "rejected" if error.code == REJECTED else "kept"
        hint = hint_of(error.kind, found.run, self._folder)
        return Outcome(what, found.push_id, path, found.run, reason, None, hint)


def hint_of(kind: Kind, run: dict[str, Any], folder: str) -> str:
    """Return what to do about a run of a spool that was not taken."""
    if kind is Kind.TOKEN:
        return advice.other_token(run, folder)
    if kind is Kind.MISDIRECTED:
        return advice.other_endpoint(folder)
    return advice.rejected(folder) if kind is Kind.INVALID else advice.kept(folder)


def drop(path: str, log: Any) -> None:
    """Remove an acknowledged run; one that stays is a duplicate the next time."""
    try:
        remove_file(path)
    except OSError as error:
        log.warning("spool.failed", path=path, reason=error.strerror)


def reject(folder: str, found: Claim, log: Any, reason: str) -> str:
    """Move a run to the rejected ones; return where it lies now."""
    try:
        return waiting.reject(folder, found, reason)
    except SpoolError as error:
        log.warning("spool.failed", path=found.path, reason=str(error))
        return found.path


def note_refusal(found: Claim, log: Any, reason: str) -> None:
    """Write down with a run why its token was refused."""
    try:
        waiting.note_refusal(found, reason)
    except SpoolError as error:
        log.warning("spool.failed", path=found.path, reason=str(error))


def set_aside(folder: str, path: str, log: Any, reason: str) -> None:
    """Move what is not a run out of the way, and say so."""
    try:
        moved = waiting.set_aside(folder, path)
    except SpoolError as error:
        log.warning("spool.failed", path=path, reason=str(error))
    else:
        log.warning("spool.set_aside", path=moved, reason=reason)
