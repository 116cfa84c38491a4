"""The start of ``collector.pyz``.

It runs from a descriptor of the archive: the job may remove or replace the file while it is
measured, and the pusher must still be found in it at the end. Like the installed program, it runs
with -E -P, so that PYTHON* variables have no effect, and imports nothing a folder could replace.
"""

import os
import sys

from runmeter.collector.program import HELD, PUSHER  # the archive comes first on the path

_ARCHIVE = os.path.dirname(__file__)


def main() -> int:
    """Run ``collector``, or its pusher."""
    if _ARCHIVE.startswith(HELD):
        os.set_inheritable(int(_ARCHIVE.removeprefix(HELD)), False)  # not for the command
    else:
        _start_again()  # if that fails, go on without
    if sys.argv[1:2] == [PUSHER]:
        from runmeter.collector.push.__main__ import main as push

        os._exit(push(sys.argv[2:]))
    from runmeter.collector.cli import main as collect

    return collect()


def _start_again() -> None:
    try:
        descriptors = [os.open(_ARCHIVE, os.O_RDONLY)]
        while descriptors[-1] < 3:  # a standard stream is closed; do not take its number
            descriptors.append(os.dup(descriptors[-1]))
        os.set_inheritable(descriptors[-1], True)
        held = f"{HELD}{descriptors[-1]}"
        os.execv(sys.executable, [sys.executable, "-E", "-P", held, *sys.argv[1:]])
    except OSError:
        pass


if __name__ == "__main__":
    raise SystemExit(main())
