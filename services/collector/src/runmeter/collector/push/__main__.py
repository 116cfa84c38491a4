"""The pusher."""

import os
import signal
from collections.abc import Sequence

from runmeter.collector.push.log import logger
from runmeter.collector.push.pusher import Push
from runmeter.collector.run.handover import parse_arguments
from runmeter.collector.run.signals import ENDING


def main(argv: Sequence[str] | None = None) -> int:
    """Push; return the exit code of the collector."""
    args = parse_arguments(argv)
    push = Push(args, logger(args.log_format, args.log_level))
    try:
        code = push.all() if args.all else push.live() if args.live else push.own()
    finally:
        # the interpreter gives up our handlers before it ends
        signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    return code if args.exit_code is None else int(args.exit_code)


if __name__ == "__main__":
    os._exit(main())
