"""Where the program ``collector`` begins: out of reach of what the job has set for its own Python.

PYTHONPATH may lead to an ``argparse.py``, or a package ``runmeter``, that is the job's; other
variables change how an interpreter works. So nothing is imported here that a folder could replace
(``os`` and ``sys`` are parts of the interpreter), and this module lies outside of ``runmeter``.
"""

import os
import sys


def main() -> int:
    """Run ``collector``; where the environment speaks to Python, in an interpreter that is deaf."""
    if not sys.flags.ignore_environment and any(name.startswith("PYTHON") for name in os.environ):
        try:
            os.execv(sys.executable, [sys.executable, "-E", "-P", __file__, *sys.argv[1:]])
        except OSError:
            pass  # then as we are
    from runmeter.collector.cli import main

    return main()


if __name__ == "__main__":
    # found by PYTHONPATH alone, we still are; behind all else
    sys.path.append(os.path.dirname(__file__))
    raise SystemExit(main())
