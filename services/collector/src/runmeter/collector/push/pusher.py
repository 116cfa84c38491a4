"""The pusher: takes runs out of the spool to the receiver, then ends.

The sampling process replaces itself by this program (``python -E -P -m runmeter.collector.push``),
starts it for a checkpoint (``--live``), and ``collector push`` becomes it (``--all``).
SIGINT and SIGTERM may arrive blocked; they are let through once their handlers stand.
"""

import argparse
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from time import monotonic_ns
from types import FrameType
from typing import Any, NoReturn

from runmeter.collector.config.endpoint import Endpoint, parse_endpoint
from runmeter.collector.config.settings import silence_grpc
from runmeter.collector.display.spool import pushed_json, pushed_text
from runmeter.collector.errors import HeldError, SpoolError
from runmeter.collector.log import write_line
from runmeter.collector.model import KEPT, PUSHED, REJECTED, Acknowledgement, Outcome
from runmeter.collector.push import delivery
from runmeter.collector.push.delivery import Kind, PushError, Retry, Tls, Transport
from runmeter.collector.push.waiting import Scope, SpoolPusher, drop, hint_of, note_refusal, reject
from runmeter.collector.run.signals import ENDING
from runmeter.collector.spool import advice
from runmeter.collector.spool.folder import (
    MEMORY,
    REJECTED_FOLDER,
    path_of,
    push_id_of,
    read_file,
)
from runmeter.collector.spool.format import decode
from runmeter.collector.spool.locks import lock, release
from runmeter.collector.spool.waiting import Claim, interrupted, scope_of

_BY_SIGNAL = "ended by a signal"


class _Ended(BaseException):
    """A second signal: no error, so that no code it interrupts makes another error of it."""


class Push:
    """One run of this program."""

    def __init__(self, args: argparse.Namespace, log: Any) -> None:
        self._args = args
        self._log = log
        self._endpoint = parse_endpoint(args.endpoint)
        self._transport: Transport
        self._run: dict[str, Any] | None = None  # of this collector

    def _begin(self) -> None:
        """Let signals through, take the token."""
        args = self._args
        _handle_signals(args.signals)
        with open(args.token_fd, encoding="ascii") as file:
            token = file.read()
        if not self._endpoint.is_tls and not _is_loopback(self._endpoint.host):
            self._log_unencrypted()
        tls = Tls(args.tls_ca, args.tls_cert, args.tls_key, args.tls_server_name)
        self._transport = _transport(self._endpoint, token, tls)

    def _log_unencrypted(self) -> None:
        facts = {"push_endpoint": self._endpoint.url, "reason": "the token is readable"}
        if self._args.live:  # the pusher at the end warns, once
            self._log.debug("push.unencrypted", **facts)
        else:
            self._log.warning("push.unencrypted", **facts)

    # -- the run of this collector --------------------------------------------------------

    def own(self) -> int:
        """Push the file, then what else waits of its scope."""
        code = None
        try:
            code, may_go_on = self._own_run()
            self._release()
            if self._run is not None and may_go_on and self._args.spool_dir:
                self._leftovers(scope_of(self._run))
        except _Ended:
            if code is None:
                self._log_undelivered(KEPT, *self._kept(_BY_SIGNAL))
                code = KEPT
                self._release()
        return code

    def _own_run(self) -> tuple[int, bool]:
        """Return the exit code, and whether others of its scope may be tried."""
        path = self._args.file
        try:
            self._lock(path)
            run = interrupted(decode(read_file(path)))
            scope_of(run)
            self._run = run
            self._begin()
            stored = self._deliver(run, self._args.deadline_ns)
        except HeldError as error:
            self._log_undelivered(KEPT, path, str(error))
            return KEPT, False
        except SpoolError as error:
            self._log.error("run.unreadable", path=path, reason=str(error))
            return KEPT, False
        except PushError as error:
            return error.code, self._refused(run, error)
        self._log_pushed(run, stored)
        for found in {path, self._checkpoint(run)}:
            if not found.startswith(MEMORY) and (found == path or os.path.lexists(found)):
                drop(found, self._log)
        return PUSHED, True

    def _lock(self, path: str) -> None:
        """Own the file, unless that was handed on, for as long as this process lives."""
        if self._args.lock_fd is not None or path.startswith(MEMORY):
            return
        folder, name = os.path.split(path)
        push_id = push_id_of(name)
        if not push_id or not os.path.lexists(path):
            return
        try:
            self._args.lock_fd = lock(folder, push_id)
        except HeldError:
            raise
        except SpoolError as error:  # as in a folder that became read-only
            self._log.warning("spool.failed", path=path, reason=str(error))

    def _release(self) -> None:
        """Give up our own run, which has left or waits for the next pusher."""
        folder, name = os.path.split(self._args.file)
        push_id = push_id_of(name)
        if self._args.file.startswith(MEMORY) and self._run is not None:
            folder, push_id = self._args.spool_dir, str(self._run.get("push_id"))
        if self._args.lock_fd is not None and push_id:
            release(folder, push_id, self._args.lock_fd)
            self._args.lock_fd = None

    def _checkpoint(self, run: dict[str, Any]) -> str:
        """Return the run's path in the spool, where a checkpoint of one in memory may lie."""
        if not self._args.spool_dir:
            return MEMORY
        return path_of(self._args.spool_dir, str(run.get("push_id")))

    def _kept(self, reason: str) -> tuple[str, str]:
        """Return where our own run is kept, and why, with what of it there is not."""
        path = self._args.file
        if path.startswith(MEMORY) and self._run is not None:
            checkpoint = self._checkpoint(self._run)
            if os.path.lexists(checkpoint):
                return checkpoint, f"{reason}; only its last checkpoint could be kept"
        return path, reason

    def _refused(self, run: dict[str, Any], error: PushError) -> bool:
        """Say what became of our own run; tell whether others of its scope may be tried."""
        path, reason = self._kept(str(error))
        folder, name = os.path.split(path)
        push_id = push_id_of(name)
        is_memory = self._args.file.startswith(MEMORY)
        if push_id and run.get("push_id") == push_id and not is_memory:
            claim = Claim(push_id, path, run)
            if error.kind is Kind.INVALID:
                path = reject(folder, claim, self._log, reason)
            elif error.kind is Kind.TOKEN:
                note_refusal(claim, self._log, reason)
        hint = hint_of(error.kind, run, folder)
        self._log_undelivered(error.code, path, reason, hint, push_endpoint=self._endpoint.url)
        return error.kind in (Kind.INVALID, Kind.FAILED)

    # -- what waits -----------------------------------------------------------------------

    def _leftovers(self, scope: Scope) -> None:
        work = self._emptying(lambda: self._args.deadline_ns - monotonic_ns())
        for outcome in work.push(scope):
            if outcome.what == "pushed" and outcome.run and outcome.stored:
                self._log_pushed(outcome.run, outcome.stored)
            elif outcome.what in ("kept", "rejected") and outcome.run:
                code = REJECTED if outcome.what == "rejected" else KEPT
                said, url = (outcome.path, outcome.reason, outcome.hint), self._endpoint.url
                self._log_undelivered(code, *said, push_endpoint=url)

    def all(self) -> int:
        """Push everything that waits, of any scope; print what became of it."""
        work = self._emptying(lambda: int(self._args.timeout_ns))
        outcomes: list[Outcome] = []
        is_whole = False
        try:
            self._begin()
            outcomes.extend(work.push())
            if self._args.rejected:
                outcomes.extend(work.push(below=REJECTED_FOLDER))
            is_whole = True
        except _Ended:
            self._log.warning("push.stopped", reason=_BY_SIGNAL)
        render_report = pushed_json if self._args.json else pushed_text
        text = render_report(self._args.spool_dir, outcomes)
        write_line(1, text, patience_ms=-1)
        whats = {outcome.what for outcome in outcomes}
        if "rejected" in whats:
            return REJECTED
        return KEPT if "kept" in whats or not is_whole else PUSHED

    def _emptying(self, budget_ns: Callable[[], int]) -> SpoolPusher:
        folder = self._args.spool_dir
        return SpoolPusher(folder, self._log, self._deliver, budget_ns)

    # -- a checkpoint ---------------------------------------------------------------------

    def live(self) -> int:
        """Push the file as it is; its collector owns it and goes on."""
        try:
            self._begin()
            run = decode(read_file(self._args.file))
            stored = self._deliver(run, self._args.deadline_ns)
        except (_Ended, SpoolError, PushError) as error:
            reason = str(error) or _BY_SIGNAL
            self._log.info("checkpoint.failed", reason=reason, push_endpoint=self._endpoint.url)
            return error.code if isinstance(error, PushError) else KEPT
        self._log.info("checkpoint.pushed", id=stored.id, push_id=run.get("push_id"))
        return PUSHED

    # -- what all of them do --------------------------------------------------------------

    def _deliver(self, run: dict[str, Any], deadline_ns: int) -> Acknowledgement:
        def tell(retry: Retry) -> None:
            facts = {"push_id": run.get("push_id"), **retry._asdict()}
            if self._args.live:
                self._log.debug("push.retrying", **facts)
            else:
                self._log.warning("push.retrying", **facts)

        return delivery.deliver(self._transport, run, deadline_ns, tell)

    def _log_pushed(self, run: dict[str, Any], stored: Acknowledgement) -> None:
        facts = {"push_id": run.get("push_id"), "state": run.get("state")}
        self._log.info("run.pushed", id=stored.id, duplicate=stored.duplicate, **facts)

    def _log_undelivered(
        self, code: int, path: str, reason: str, hint: str = "", **facts: str
    ) -> None:
        event = "run.rejected" if code == REJECTED else "run.kept"
        if path.startswith(MEMORY):  # no folder could take it
            event = "run.lost"
        else:
            facts.update(path=path, hint=hint or advice.kept(os.path.dirname(path)))
        self._log.error(event, reason=reason, **facts)


def _transport(endpoint: Endpoint, token: str, tls: Tls) -> Transport:
    if endpoint.scheme.startswith("grpc"):
        silence_grpc()
        from runmeter.collector.push.transport_grpc import GrpcTransport

        return GrpcTransport(endpoint, token, tls)
    from runmeter.collector.push.transport_http import HttpTransport

    return HttpTransport(endpoint, token, tls, _limit)


def _handle_signals(received: int) -> None:
    def handle(_number: int, _frame: FrameType | None) -> None:
        nonlocal received
        received += 1
        if received > 1:
            raise _Ended

    for number in ENDING:
        signal.signal(number, handle)
    # what else was taken for the command, which has ended, stays blocked
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)


@contextmanager
def _limit(seconds: float) -> Iterator[None]:
    """End what runs below with a TimeoutError once the time is up."""
    signal.signal(signal.SIGALRM, _time_is_up)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGALRM,))
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _time_is_up(_number: int, _frame: FrameType | None) -> NoReturn:
    raise TimeoutError("no whole answer in time")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
