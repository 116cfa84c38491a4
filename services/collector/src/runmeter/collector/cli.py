"""``collector``: the command line."""

import sys
from collections.abc import Sequence

from runmeter.collector import app
from runmeter.collector.config import flags, settings
from runmeter.collector.errors import UsageError
from runmeter.collector.log import Log, write_line
from runmeter.collector.model import KEPT
from runmeter.collector.run.handover import become_spool_pusher
from runmeter.collector.run.signals import Signals

USAGE_EXIT = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``collector [flags] [-- command …]``, ``push`` or ``spool``; return the exit code.

    If a run is to be pushed, it does not return: the process becomes the pusher.
    """
    arguments = sys.argv[1:] if argv is None else argv
    try:
        if arguments[:1] == ["push"]:
            return push(arguments[1:])
        if arguments[:1] == ["spool"]:
            return spool(arguments[1:])
        signals = Signals()
        loaded = settings.load(arguments)
    except UsageError as error:
        write_line(2, f"collector: {error}")
        return USAGE_EXIT
    return app.run(loaded, signals)


def push(arguments: Sequence[str]) -> int:
    """Become the pusher of all waiting runs; return the exit code if that is not possible.

    Raises:
        UsageError: a flag or variable is wrong.
    """
    given = flags.parse_push(arguments)
    config = settings.load_push(given)
    log = Log(config.log_format, config.log_level)
    for warning in config.warnings:
        log.write("warning", "config.warned", reason=warning)
    try:
        become_spool_pusher(config, retry_rejected=given["rejected"], as_json=given["json"])
    except OSError as error:
        write_line(2, f"collector: {sys.executable!r} cannot be run: {error.strerror}")
    return KEPT


def spool(arguments: Sequence[str]) -> int:
    """List the spool; return the exit code.

    Raises:
        UsageError: a flag or variable is wrong.
    """
    # imported here: what measures does not need them
    from runmeter.collector.display.spool import spooled_json, spooled_text
    from runmeter.collector.spool.listing import entries

    given = flags.parse_spool(arguments)
    folder = settings.load_spool_dir(given)
    render = spooled_json if given["json"] else spooled_text
    write_line(1, render(folder, entries(folder)), patience_ms=-1)
    return 0
