"""The command line of the pusher, a program that only the collector starts."""

import argparse
from collections.abc import Sequence


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return what to push (``--file`` or ``--all``), where to, and how long it may take.

    ``--deadline-ns`` is a time of the monotonic clock; ``--timeout-ns`` counts for each run.
    """
    parser = argparse.ArgumentParser(prog="runmeter.collector.push")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--file")
    what.add_argument("--all", action="store_true")
    parser.add_argument("--endpoint", required=True)
    parser.add_argument("--token-fd", type=int, required=True)
    parser.add_argument("--deadline-ns", type=int, default=0)
    parser.add_argument("--timeout-ns", type=int, default=0)
    parser.add_argument("--lock-fd", type=int)
    parser.add_argument("--spool-dir", default="")
    parser.add_argument("--live", action="store_true")
    parser.add_argument("--rejected", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--signals", type=int, default=0)
    parser.add_argument("--exit-code", type=int)
    parser.add_argument("--log-format", default="json")
    parser.add_argument("--log-level", default="info")
    for name in ("--tls-ca", "--tls-cert", "--tls-key", "--tls-server-name"):
        parser.add_argument(name, default="")
    return parser.parse_args(argv)
