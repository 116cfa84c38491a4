"""Pushing the runs that wait in the spool, one after the other."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic_ns
from typing import Any

from runmeter.collector.errors import ForeignError, GoneError, HeldError, SpoolError
from runmeter.collector.log import Log
from runmeter.collector.model import REJECTED, Acknowledgement, Outcome
from runmeter.collector.push.delivery import Kind, PushError
from runmeter.collector.spool import advice
from runmeter.collector.spool.folder import below_of, path_of, push_ids, remove_file, sweep
from runmeter.collector.spool.waiting import (
    Claim,
    claim,
    note_refusal,
    reject,
    scope_of,
    set_aside,
)

Scope = tuple[str, str, str, str]
_ENDLESS = (Kind.UNUSABLE, Kind.MISDIRECTED)  # every other run would be refused as well
_SHORT_NS = 3_000_000_000
_BUSY_RUNS = 2  # after so many undelivered runs in a row the receiver counts as unreachable


class SpoolPusher:
    """Pushes waiting runs until the receiver is unreachable or the time is up.

    ``deliver(run, deadline_ns)`` pushes one run. ``budget_ns()`` is how long the next one may
    be tried; zero or less ends it.
    """

    def __init__(
        self,
        folder: str,
        log: Log,
        deliver: Callable[[dict[str, Any], int], Acknowledgement],
        budget_ns: Callable[[], int],
    ) -> None:
        self._folder = folder
        self._log = log
        self._deliver = deliver
        self._budget_ns = budget_ns
        self._refused: dict[Scope, str] = {}  # reason by scope that the token is not for
        self._busy_count = 0
        self._end = ""  # why no more are tried

    def push(self, scope: Scope | None = None, below: str = "", but: str = "") -> Iterator[Outcome]:
        """Push every run that no process owns; of one scope only, if given.

        ``but``: the push_id of a run that was tried already.
        """
        sweep(self._folder)
        place = below_of(self._folder, below)
        for push_id in push_ids(place):
            if push_id == but:
                continue
            path = path_of(place, push_id)
            try:
                with claim(self._folder, push_id, below) as found:
                    if scope is None or scope_of(found.run) == scope:
                        yield self._push(found)
            except GoneError:
                continue
            except HeldError as error:
                yield Outcome("live", push_id, path, None, str(error), None)
            except SpoolError as error:
                self._log_unreadable(path, error)
                yield Outcome("kept", push_id, path, None, str(error), None)

    def _log_unreadable(self, path: str, error: SpoolError) -> None:
        """Log a file that cannot be pushed; one that is not a run is set aside."""
        if not isinstance(error, ForeignError):
            self._log.write("warning", "run.unreadable", path=path, reason=str(error))
            return
        with self.logging_failure(path):
            moved = set_aside(self._folder, path)
            self._log.write("warning", "spool.set_aside", path=moved, reason=str(error))

    def _push(self, found: Claim) -> Outcome:
        scope = scope_of(found.run)
        budget_ns = self._budget_ns()
        if self._end or scope in self._refused or budget_ns <= 0:
            reason = self._end or self._refused.get(scope) or "no time was left to push it"
            hint = advice.kept(self._folder)
            if scope in self._refused:
                self.note(found, Kind.TOKEN, self._refused[scope])
                hint = advice.other_token(found.run, self._folder)
            return Outcome("kept", found.push_id, found.path, found.run, reason, None, hint)
        try:
            if self._busy_count:
                budget_ns = min(budget_ns, _SHORT_NS)  # maybe only the run before was at fault
            answer = self._deliver(found.run, monotonic_ns() + budget_ns)
        except PushError as error:
            return self._refuse(found, scope, error)
        self._busy_count = 0
        with self.logging_failure(found.path):  # if it stays, it is a duplicate the next time
            remove_file(found.path)
        return Outcome("pushed", found.push_id, found.path, found.run, "", answer)

    def _refuse(self, found: Claim, scope: Scope, error: PushError) -> Outcome:
        reason = str(error)
        self._busy_count = self._busy_count + 1 if error.kind is Kind.BUSY else 0
        if error.kind in _ENDLESS or self._busy_count >= _BUSY_RUNS:
            self._end = reason
        if error.kind is Kind.TOKEN:
            self._refused[scope] = reason
        path = self.note(found, error.kind, reason)
        what = "rejected" if error.code == REJECTED else "kept"
        hint = hint_of(error.kind, found.run, self._folder)
        return Outcome(what, found.push_id, path, found.run, reason, None, hint)

    def note(self, found: Claim, kind: Kind, reason: str) -> str:
        """Store why a run was refused, if it is needed later; return its path from now on."""
        path = found.path
        with self.logging_failure(path):
            if kind is Kind.INVALID:
                path = reject(self._folder, found, reason)
            elif kind is Kind.TOKEN:
                note_refusal(found, reason)
        return path

    @contextmanager
    def logging_failure(self, path: str) -> Iterator[None]:
        """Log an error of the spool; the push goes on."""
        try:
            yield
        except SpoolError as error:
            self._log.write("warning", "spool.failed", path=path, reason=str(error))


def hint_of(kind: Kind, run: dict[str, Any], folder: str) -> str:
    """Return what to do about a run of a spool that was refused."""
    if kind is Kind.TOKEN:
        return advice.other_token(run, folder)
    if kind is Kind.MISDIRECTED:
        return advice.other_endpoint(folder)
    return advice.rejected(folder) if kind is Kind.INVALID else advice.kept(folder)
