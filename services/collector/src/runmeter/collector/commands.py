"""``collector push`` and ``collector spool``: what a person does with the spool."""

import os
import sys
from collections.abc import Sequence

from runmeter.collector import listing, report, spool_flags
from runmeter.collector.config import SpoolConfig, load_spool
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
        os.execv(sys.executable, _pusher(config, flags["rejected"], flags["json"]))
    except OSError as error:
        write_line(2, f"collector: {sys.executable!r} cannot be run: {error.strerror}")
        return 3


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


def _pusher(config: SpoolConfig, rejected: bool, as_json: bool) -> list[str]:
    """Return the pusher's command line; the token passes through a descriptor."""
    assert config.endpoint is not None
    token = os.memfd_create("runmeter", 0)
    os.write(token, config.push_token.encode())
    os.lseek(token, 0, os.SEEK_SET)
    line = [sys.executable, "-I", "-m", "runmeter.collector.push", "--all"]
    line += [f"--endpoint={config.endpoint.url}", f"--token-fd={token}"]
    line += [f"--spool-dir={config.spool_dir}", f"--timeout-ns={config.timeout_ns}"]
    line += [f"--log-format={config.log_format}", f"--log-level={config.log_level}"]
    line += ["--signals=1"]  # the first one ends it
    for name in ("tls_ca", "tls_cert", "tls_key", "tls_server_name"):
        if getattr(config, name):
            line.append(f"--{name.replace('_', '-')}={getattr(config, name)}")
    return line + ["--rejected"] * rejected + ["--json"] * as_json
