"""Log events: a service has one table of its events, and docs/events.md is generated from it.

::

    SERVER_STARTED = "server.started"

    EVENTS = {
        SERVER_STARTED: Event("info", "The service accepts calls.", ("address", "version")),
        **LIBRARY_EVENTS,
    }

Every line has ``event``, ``level`` and ``timestamp`` beside the keys of its event.
"""

from typing import NamedTuple

LIBRARY_WARNED = "library.warned"


class Event(NamedTuple):
    """The level of an event, what it means, and the keys it may carry."""

    level: str
    meaning: str
    keys: tuple[str, ...]


LIBRARY_EVENTS = {
    LIBRARY_WARNED: Event(
        "warning, error",
        "A library logged a warning or an error.",
        ("logger", "message", "exception"),
    ),
}
