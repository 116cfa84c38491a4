"""``python -m runmeter.collector.push``: the pusher, started by the collector with one order."""

import json
import os
import signal
import sys
from collections.abc import Sequence

from runmeter.collector.log import Log
from runmeter.collector.push.pusher import Pusher
from runmeter.collector.run.handover import Order
from runmeter.collector.run.signals import ENDING


def main(argv: Sequence[str] | None = None) -> int:
    """Push; return the exit code of the collector."""
    (text,) = sys.argv[1:] if argv is None else argv
    order = Order(**json.loads(text))
    try:
        return Pusher(order, Log(order.log_format, order.log_level)).run()
    finally:
        # the interpreter removes our handlers before it ends
        signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)


if __name__ == "__main__":
    os._exit(main())
