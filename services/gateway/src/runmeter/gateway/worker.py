"""``python -m runmeter.gateway.worker``: one of several processes, started by the parent only."""

import gc
import sys

from runmeter.gateway.web.unused import leave_out


def main() -> int:
    """Read the assignment from standard input and serve."""
    leave_out()
    gc.disable()  # nothing of what is imported is garbage; `run_worker` enables it again
    from runmeter.gateway.app import run_worker

    # not buffered: what could not be written would be written once more at the end
    with open(sys.stdout.fileno(), "wb", buffering=0, closefd=False) as to:
        return run_worker(sys.stdin.buffer, to)


if __name__ == "__main__":
    sys.exit(main())
