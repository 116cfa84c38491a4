"""Write docs/events.md from the tables of events of the three programs.

``--check`` writes nothing and exits 1 if the file is stale.
"""

import sys
from collections.abc import Mapping

from generated import DOCS, write_or_check

from runmeter.collector.events import EVENTS as COLLECTOR
from runmeter.gateway.events import EVENTS as GATEWAY
from runmeter.receiver.events import EVENTS as RECEIVER

HEAD = """\
# Log events

Every program writes one line per event to standard error, as JSON or text (`--log-format`). Every
line has `timestamp` (UTC), `level` and `event`. Tokens, keys, command lines and environments are
never logged.
"""
Row = tuple[str, str, tuple[str, ...]]


def section(name: str, events: Mapping[str, Row]) -> str:
    """Return the table of a program's events."""
    lines = [f"## {name}\n", "| event | level | meaning | keys |", "|---|---|---|---|"]
    for event, (level, meaning, keys) in events.items():
        listed = ", ".join(f"`{key}`" for key in keys)
        lines.append(f"| `{event}` | {level} | {meaning} | {listed} |")
    return "\n".join([*lines, ""])


def document() -> str:
    """Return the file's content as it should be."""
    tables = {"collector": COLLECTOR, "receiver": RECEIVER, "gateway": GATEWAY}
    return "\n".join([HEAD, *(section(name, events) for name, events in tables.items())])


if __name__ == "__main__":
    sys.exit(write_or_check(DOCS / "events.md", document))
