"""The query of a request and its caller: plain records."""

from typing import NamedTuple

from runmeter.gateway.schemas.api import RunState, Scope


class Caller(NamedTuple):
    """Who sent a request; sent to the receiver as metadata. The token is not read here."""

    authorization: str
    request_id: str
    client_address: str | None = None
    """The IP address of the client; None where it has none."""


class RunQuery(NamedTuple):
    """Which runs to list; None: the receiver's default."""

    scope: Scope
    limit: int | None = None
    before_id: int | None = None
    since_unix_ms: int | None = None
    until_unix_ms: int | None = None
    run_id: str | None = None
    states: tuple[RunState, ...] = ()


class PageQuery(NamedTuple):
    """Which names to list; None: the receiver's default."""

    limit: int | None = None
    after: str | None = None
