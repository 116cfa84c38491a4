"""``collector push`` and ``collector spool``: what a person does with the spool."""

import sys
from collections.abc import Sequence

from runmeter.collector import listing, report, spool_flags
from runmeter.collector.config import load_spool
from runmeter.collector.handover import become_emptying_pusher
from runmeter.collector.outcome import KEPT
from runmeter.collector.output import Log, write_line


def push(arguments: Sequence[str]) -> int:
    """Become the pusher of everything that waits; return the exit code if that cannot be.

    Raises:
        UsageError: a flag or variable is wrong.
    """
    flags = spool_flags.parse_push(arguments)
    config = load_spool(flags)
    log = Log(config.log_format, config.log_level)
    for warning in config.warnings:
        log.write("warning", "config.warned", reason=warning)
    try:
        become_emptying_pusher(config, rejected=flags["rejected"], as_json=flags["json"])
    except OSError as error:
        write_line(2, f"collector: {sys.executable!r} cannot be run: {error.strerror}")
    return KEPT


def spooled(arguments: Sequence[str]) -> int:
    """List the spool; return the exit code.

    Raises:
        UsageError: a flag or variable is wrong.
    """
    flags = spool_flags.parse_spool(arguments)
    config = load_spool(flags)
    render = report.spooled_json if flags["json"] else report.spooled_text
    write_line(1, render(config.spool_dir, listing.entries(config.spool_dir)), patience_ms=-1)
    return 0
