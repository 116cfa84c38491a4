"""``collector``: the command line."""

import sys
from collections.abc import Sequence

from runmeter.collector import app, config
from runmeter.collector.errors import UsageError
from runmeter.collector.output import write_line

USAGE_EXIT = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``collector [flags] [-- command …]``; return the exit code.

    It returns only when nothing is to be pushed: otherwise the process has become the pusher.
    """
    signals = app.Signals()
    try:
        loaded = config.load(sys.argv[1:] if argv is None else argv)
    except UsageError as error:
        write_line(2, f"collector: {error}")
        return USAGE_EXIT
    return app.run(loaded, signals)
