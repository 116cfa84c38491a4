"""``collector``: the command line."""

import sys
from collections.abc import Sequence

from runmeter.collector import app, config
from runmeter.collector.errors import UsageError
from runmeter.collector.output import write_line

USAGE_EXIT = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``collector [flags] [-- command …]``, ``push`` or ``spool``; return the exit code.

    It returns only when nothing is to be pushed: otherwise the process has become the pusher.
    """
    arguments = sys.argv[1:] if argv is None else argv
    try:
        if arguments[:1] in (["push"], ["spool"]):
            from runmeter.collector import commands  # nothing that measures needs it

            act = commands.push if arguments[0] == "push" else commands.spooled
            return act(arguments[1:])
        signals = app.Signals()
        loaded = config.load(arguments)
    except UsageError as error:
        write_line(2, f"collector: {error}")
        return USAGE_EXIT
    return app.run(loaded, signals)
