"""Write docs/openapi.json from the gateway's own types and routes.

``--check`` writes nothing and exits 1 if the file is stale.
"""

import json
import sys
from pathlib import Path

from runmeter.gateway.operations import describe

TARGET = Path(__file__).resolve().parent.parent / "docs" / "openapi.json"


def document() -> str:
    """Return the file's content as it should be."""
    return json.dumps(describe(), indent=1, ensure_ascii=False) + "\n"


def main() -> int:
    """Write or check; return the exit code."""
    if "--check" not in sys.argv[1:]:
        TARGET.write_text(document(), encoding="utf-8")
        return 0
    return TARGET.read_text(encoding="utf-8") != document()


if __name__ == "__main__":
    sys.exit(main())
