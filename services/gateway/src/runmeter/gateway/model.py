"""What a request asks for, and for whom: plain records."""

from typing import NamedTuple

from runmeter.gateway.schemas.api import RunState, Scope
from runmeter.gateway.schemas.instant import Instant


class Caller(NamedTuple):
    """Whose request it is, handed on as metadata. ``authorization`` is never looked into."""

    authorization: str
    request_id: str
    client_address: str | None = None
    """The IP address of the client; None where it has none."""


class RunQuery(NamedTuple):
    """What to list; None: not asked for, so the receiver's default counts."""

    scope: Scope
    limit: int | None = None
    before_id: int | None = None
    since: Instant | None = None
    until: Instant | None = None
    run_id: str | None = None
    states: tuple[RunState, ...] = ()


class PageQuery(NamedTuple):
    """Which names to list; None: not asked for, so the receiver's default counts."""

    limit: int | None = None
    after: str | None = None
