"""How to start this program again: as it is installed, or from ``collector.pyz``."""

import os
import sys

PUSHER = "runmeter.collector.push"
HELD = "/proc/self/fd/"


def archive() -> str:
    """Return the path of the zip archive this program runs from; empty if it is installed."""
    return getattr(getattr(__spec__, "loader", None), "archive", "")


def pusher() -> list[str]:
    """Return the start of the pusher's command line, for the next exec of this process.

    The descriptor of the archive, if there is one, becomes inheritable.
    """
    # not -I: it would hide packages installed by the user
    start = [sys.executable, "-E", "-P", *(f"-W{option}" for option in sys.warnoptions)]
    found = archive()
    if not found:
        return [*start, "-m", PUSHER]
    if found.startswith(HELD):
        os.set_inheritable(int(found.removeprefix(HELD)), True)
    return [*start, found, PUSHER]
