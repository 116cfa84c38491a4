"""``python -m runmeter.collector``."""

import sys

if not sys.flags.safe_path:  # the current folder is the job's: search it last
    sys.path.append(sys.path.pop(0))

from _runmeter_collector import main

raise SystemExit(main())
