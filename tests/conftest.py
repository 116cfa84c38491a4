"""Make ``rig``, what the tests across packages share, importable."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))
