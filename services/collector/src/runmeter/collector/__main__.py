"""``python -m runmeter.collector``."""

from runmeter.collector.cli import main

raise SystemExit(main())
