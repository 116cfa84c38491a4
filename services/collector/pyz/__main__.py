"""Where ``collector.pyz`` begins.

It runs from a descriptor of the archive: the job may remove or replace the file while it is
measured, and what comes last must still be found in it. As where it is installed, it runs in an
interpreter that is deaf to the environment, and imports nothing that a folder could replace.
"""

import os
import sys

from runmeter.collector.program import HELD, PUSHER  # ours: the archive comes first on the path

_ARCHIVE = os.path.dirname(__file__)


def main() -> int:
    """Run ``collector``, or its pusher."""
    if _ARCHIVE.startswith(HELD):
        os.set_inheritable(int(_ARCHIVE.removeprefix(HELD)), False)  # not for the command
    else:
        _start_again()  # or go on as we are
    if sys.argv[1:2] == [PUSHER]:
        from runmeter.collector.push.__main__ import main as push

        os._exit(push(sys.argv[2:]))
    from runmeter.collector.cli import main as collect

    return collect()


def _start_again() -> None:
    try:
        descriptors = [os.open(_ARCHIVE, os.O_RDONLY)]
        while descriptors[-1] < 3:  # a standard stream was closed; it must not become one
            descriptors.append(os.dup(descriptors[-1]))
        os.set_inheritable(descriptors[-1], True)
        held = f"{HELD}{descriptors[-1]}"
        os.execv(sys.executable, [sys.executable, "-E", "-P", held, *sys.argv[1:]])
    except OSError:
        pass


if __name__ == "__main__":
    raise SystemExit(main())
