"""Log events: their names are constants, and each service has one table of what they mean.

::

    EVENTS = {
        SERVER_STARTED: Event("info", "Calls are taken.", ("address", "version")),
        LIBRARY_WARNED: LIBRARY_WARNING,
    }

docs/events.md is generated from these tables. Every line has ``event``, ``level`` and
``timestamp`` beside the keys of its event.
"""

from collections.abc import Mapping
from typing import NamedTuple

SERVER_STARTED = "server.started"
SHUTDOWN_REQUESTED = "shutdown.requested"
SERVER_STOPPED = "server.stopped"
LIBRARY_WARNED = "library.warned"


class Event(NamedTuple):
    """The level of an event, what it means, and the keys it may carry."""

    level: str
    meaning: str
    keys: tuple[str, ...]


LIBRARY_WARNING = Event(
    "warning, error",
    "A library logged a warning or an error.",
    ("logger", "message", "exception"),
)


def table(events: Mapping[str, Event]) -> str:
    """Return the events of a service as a table in Markdown."""
    lines = ["| event | level | meaning | keys |", "|---|---|---|---|"]
    for name, event in events.items():
        keys = ", ".join(f"`{key}`" for key in event.keys)
        lines.append(f"| `{name}` | {event.level} | {event.meaning} | {keys} |")
    return "\n".join(lines) + "\n"
