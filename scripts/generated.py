"""Write a generated file, or compare it."""

import sys
from collections.abc import Callable
from pathlib import Path

DOCS = Path(__file__).resolve().parent.parent / "docs"


def write_or_check(target: Path, document: Callable[[], str]) -> int:
    """Write the document. With ``--check`` only return 1 if the file differs."""
    text = document()
    if "--check" in sys.argv[1:]:
        return int(target.read_text(encoding="utf-8") != text)
    target.write_text(text, encoding="utf-8")
    return 0
