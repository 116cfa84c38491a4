"""The start of the program ``collector``, independent of the job's own Python settings.

PYTHONPATH may contain an ``argparse.py`` or a package ``runmeter`` of the job; other variables
change how an interpreter works. So nothing is imported here that a folder could replace (``os``
and ``sys`` are parts of the interpreter), and this module is outside of the package ``runmeter``.
"""

import os
import sys


def main() -> int:
    """Run ``collector``.

    If PYTHON* variables are set, restart with -E -P so that they have no effect.
    """
    if not sys.flags.ignore_environment and any(name.startswith("PYTHON") for name in os.environ):
        try:
            os.execv(sys.executable, [sys.executable, "-E", "-P", __file__, *sys.argv[1:]])
        except OSError:
            pass  # go on with them
    from runmeter.collector.cli import main

    return main()


if __name__ == "__main__":
    # so that it is found even if only PYTHONPATH led to it; last in the search
    sys.path.append(os.path.dirname(__file__))
    raise SystemExit(main())
