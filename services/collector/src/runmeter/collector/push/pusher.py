"""The pusher: sends runs from the spool to the receiver, then ends.

The sampling process replaces itself by this program at its end, a checkpoint process does for a
run that goes on, and ``collector push`` does for all waiting runs: see ``run/handover.py``.
SIGINT and SIGTERM may be blocked at its start; they are unblocked once their handlers are set.
"""

import os
import signal
from ipaddress import ip_address
from time import monotonic_ns
from types import FrameType
from typing import Any

from runmeter.collector.config.endpoint import Endpoint, parse_endpoint
from runmeter.collector.config.settings import silence_grpc
from runmeter.collector.display.spool import pushed_json, pushed_text
from runmeter.collector.errors import HeldError, SpoolError
from runmeter.collector.log import Log, write_line
from runmeter.collector.model import KEPT, PUSHED, REJECTED, Acknowledgement, Outcome
from runmeter.collector.push import delivery
from runmeter.collector.push.delivery import Kind, PushError, Retry, Tls, Transport
from runmeter.collector.push.waiting import Scope, SpoolPusher, hint_of
from runmeter.collector.run.handover import CHECKPOINT, SPOOL, Order
from runmeter.collector.run.signals import ENDING, Repeats
from runmeter.collector.spool import advice
from runmeter.collector.spool.folder import REJECTED_FOLDER, remove_file
from runmeter.collector.spool.format import decode
from runmeter.collector.spool.locks import lock, release
from runmeter.collector.spool.waiting import Claim, interrupted, scope_of

_BY_SIGNAL = "ended by a signal"


class _Ended(BaseException):
    """A second signal. Not an ``Exception``: ``except Exception`` must not catch it."""


class Pusher:
    """One run of this program."""

    def __init__(self, order: Order, log: Log) -> None:
        self._order = order
        self._log = log
        self._stored = order.stored
        self._lock_fd = order.lock_fd
        self._endpoint = parse_endpoint(order.endpoint)
        self._transport: Transport

    def run(self) -> int:
        """Execute the order; return the exit code."""
        if self._order.task == SPOOL:
            return self._push_spool()
        return self._push_checkpoint() if self._order.task == CHECKPOINT else self._push_run()

    def _begin(self) -> None:
        """Unblock signals and read the push token."""
        order = self._order
        _handle_signals(order.signal_count, Repeats(order.signal_number, order.signal_ns))
        with open(order.token_fd, encoding="ascii") as file:
            token = file.read()
        if not self._endpoint.is_tls and not _is_loopback(self._endpoint.host):
            level = "debug" if order.task == CHECKPOINT else "warning"  # once a run
            reason = "the push token is sent unencrypted"
            self._log.write(
                level, "push.unencrypted", push_endpoint=self._endpoint.url, reason=reason
            )
        tls = Tls(order.tls_ca, order.tls_cert, order.tls_key, order.tls_server_name)
        self._transport = _transport(self._endpoint, token, tls)

    # -- a run that has ended -------------------------------------------------------------

    def _push_run(self) -> int:
        """Push the run, then the waiting runs of its scope."""
        code = None
        try:
            code, scope = self._push_own()
            self._release()
            if scope is not None and self._order.spool_dir:
                self._push_leftovers(scope)
        except _Ended:
            if code is None:
                path, reason = self._kept(_BY_SIGNAL)
                self._log_undelivered(KEPT, path, reason)
                code = KEPT
                self._release()
        return code

    def _push_own(self) -> tuple[int, Scope | None]:
        """Return the exit code, and the scope if other runs of it may be pushed."""
        stored = self._stored
        try:
            self._lock()
            run = interrupted(decode(stored.read()))
            scope = scope_of(run)
            self._begin()
            answer = self._deliver(run, self._order.deadline_ns)
        except HeldError as error:
            self._log_undelivered(KEPT, stored.path, str(error))
            return KEPT, None
        except SpoolError as error:
            self._log.write("error", "run.unreadable", path=stored.path, reason=str(error))
            return KEPT, None
        except PushError as error:
            self._refused(run, error)
            return error.code, scope if error.kind in (Kind.INVALID, Kind.FAILED) else None
        self._log_pushed(run, answer)
        if not stored.is_in_memory or os.path.lexists(stored.path):
            with self._spool_pusher().logging_failure(stored.path):
                remove_file(stored.path)
        return PUSHED, scope

    def _lock(self) -> None:
        """Lock the run until this process ends, unless its lock was inherited."""
        stored = self._stored
        if self._lock_fd is not None or stored.is_in_memory or not os.path.lexists(stored.path):
            return
        try:
            self._lock_fd = lock(stored.folder, stored.push_id)
        except HeldError:
            raise
        except SpoolError as error:  # as in a folder that became read-only
            self._log.write("warning", "spool.failed", path=stored.path, reason=str(error))

    def _release(self) -> None:
        """Release the run, which has left the spool or waits for the next pusher."""
        if self._lock_fd is not None:
            release(self._stored.folder, self._stored.push_id, self._lock_fd)
            self._lock_fd = None

    def _kept(self, reason: str) -> tuple[str, str]:
        """Return where the run is kept, empty if nowhere, and the reason, completed."""
        stored = self._stored
        if not stored.is_in_memory:
            return stored.path, reason
        if os.path.lexists(stored.path):
            return stored.path, f"{reason}; only its last checkpoint could be kept"
        return "", reason

    def _refused(self, run: dict[str, Any], error: PushError) -> None:
        """Log the result of the run."""
        stored = self._stored
        path, reason = self._kept(str(error))
        if not stored.is_in_memory and run.get("push_id") == stored.push_id:
            claim = Claim(stored.push_id, path, run)
            path = self._spool_pusher().note(claim, error.kind, reason)
        hint = hint_of(error.kind, run, stored.folder)
        self._log_undelivered(error.code, path, reason, hint, push_endpoint=self._endpoint.url)

    # -- waiting runs ---------------------------------------------------------------------

    def _push_leftovers(self, scope: Scope) -> None:
        for outcome in self._spool_pusher().push(scope, but=self._stored.push_id):
            if outcome.what == "pushed" and outcome.run and outcome.stored:
                self._log_pushed(outcome.run, outcome.stored)
            elif outcome.what in ("kept", "rejected") and outcome.run:
                code = REJECTED if outcome.what == "rejected" else KEPT
                facts = (outcome.path, outcome.reason, outcome.hint)
                self._log_undelivered(code, *facts, push_endpoint=self._endpoint.url)

    def _push_spool(self) -> int:
        """Push all waiting runs, of any scope; print the results."""
        order = self._order
        pusher = self._spool_pusher()
        outcomes: list[Outcome] = []
        is_complete = False
        try:
            self._begin()
            outcomes.extend(pusher.push())
            if order.retry_rejected:
                outcomes.extend(pusher.push(below=REJECTED_FOLDER))
            is_complete = True
        except _Ended:
            self._log.write("warning", "push.stopped", reason=_BY_SIGNAL)
        render = pushed_json if order.as_json else pushed_text
        write_line(1, render(order.spool_dir, outcomes), patience_ms=-1)
        whats = {outcome.what for outcome in outcomes}
        if "rejected" in whats:
            return REJECTED
        return KEPT if "kept" in whats or not is_complete else PUSHED

    def _spool_pusher(self) -> SpoolPusher:
        return SpoolPusher(self._order.spool_dir, self._log, self._deliver, self._budget_ns)

    def _budget_ns(self) -> int:
        """Return how long the next waiting run may be tried."""
        order = self._order
        return order.timeout_ns if order.task == SPOOL else order.deadline_ns - monotonic_ns()

    # -- a run that goes on ---------------------------------------------------------------

    def _push_checkpoint(self) -> int:
        """Push the checkpoint of a run that its collector still measures."""
        url = self._endpoint.url
        try:
            self._begin()
            run = decode(self._stored.read())
            answer = self._deliver(run, self._order.deadline_ns)
        except (_Ended, SpoolError, PushError) as error:
            reason = str(error) or _BY_SIGNAL
            self._log.write("info", "checkpoint.failed", reason=reason, push_endpoint=url)
            return error.code if isinstance(error, PushError) else KEPT
        self._log.write("info", "checkpoint.pushed", id=answer.id, push_id=run.get("push_id"))
        return PUSHED

    # -- all of them ----------------------------------------------------------------------

    def _deliver(self, run: dict[str, Any], deadline_ns: int) -> Acknowledgement:
        level = "debug" if self._order.task == CHECKPOINT else "warning"

        def log_retry(retry: Retry) -> None:
            self._log.write(level, "push.retrying", push_id=run.get("push_id"), **retry._asdict())

        return delivery.deliver(self._transport, run, deadline_ns, log_retry)

    def _log_pushed(self, run: dict[str, Any], answer: Acknowledgement) -> None:
        facts = {"push_id": run.get("push_id"), "state": run.get("state")}
        self._log.write("info", "run.pushed", id=answer.id, duplicate=answer.duplicate, **facts)

    def _log_undelivered(
        self, code: int, path: str, reason: str, hint: str = "", **facts: str
    ) -> None:
        event = "run.rejected" if code == REJECTED else "run.kept"
        if path:
            facts.update(path=path, hint=hint or advice.kept(self._stored.folder))
        else:
            event = "run.lost"
        self._log.write("error", event, reason=reason, **facts)


def _transport(endpoint: Endpoint, token: str, tls: Tls) -> Transport:
    if endpoint.scheme.startswith("grpc"):
        silence_grpc()
        from runmeter.collector.push.transport_grpc import GrpcTransport

        return GrpcTransport(endpoint, token, tls)
    from runmeter.collector.push.transport_http import HttpTransport

    return HttpTransport(endpoint, token, tls)


def _handle_signals(count: int, repeats: Repeats) -> None:
    """End the push at the second ending signal; ``count``: of those received already."""

    def handle(number: int, _frame: FrameType | None) -> None:
        nonlocal count
        if repeats.include(number):
            return
        count += 1
        if count > 1:
            raise _Ended

    for number in ENDING:
        signal.signal(number, handle)
    # the other signals that were taken for the command, which has ended, stay blocked
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
