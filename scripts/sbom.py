"""Write a bill of materials: ``sbom.py [PACKAGE…]``, of all packages if none is given."""

import sys
from pathlib import Path

from releasing import sbom
from releasing.commands import ReleaseError
from releasing.packages import package_of, packages

ROOT = Path(__file__).resolve().parents[1]


def main(arguments: list[str]) -> str | None:
    """Write the bills of one package or of all; return the text of a failure."""
    try:
        found = [package_of(ROOT, name) for name in arguments] or list(packages(ROOT).values())
        for package in found:
            path = ROOT / "dist" / f"{package.distribution}.cdx.json"
            sbom.write(package, path)
            print(path.relative_to(ROOT))
    except ReleaseError as error:
        return f"sbom.py: {error}"
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
