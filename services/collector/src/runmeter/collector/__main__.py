"""``python -m runmeter.collector``."""

import sys

if not sys.flags.safe_path:  # the folder it was started in is the job's: looked at last
    sys.path.append(sys.path.pop(0))

from _runmeter_collector import main

raise SystemExit(main())
