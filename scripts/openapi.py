"""Write docs/openapi.json from the gateway's own types and routes.

``--check`` writes nothing and exits 1 if the file is stale.
"""

import json
import sys

from generated import DOCS, write_or_check

from runmeter.gateway.openapi.routes import describe


def document() -> str:
    """Return the file's content as it should be."""
    return json.dumps(describe(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.exit(write_or_check(DOCS / "openapi.json", document))
