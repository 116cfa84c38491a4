"""docs/errors.md lists the statuses that the program answers."""

import inspect
import re
from pathlib import Path

from runmeter.gateway.web import problems

ROOT = Path(__file__).parents[3]


def test_every_status_is_documented() -> None:
    """docs/errors.md has a line for each status of an error, and for no other."""
    found = re.findall(
        r"\bOutcome\((\d{3})\b", Path(inspect.getfile(problems)).read_text(encoding="utf-8")
    )
    assert len(found) > 10
    answered = {*map(int, found), *problems.STATUS_OF_CODE.values()}
    assert answered <= problems.KINDS.keys()
    text = (ROOT / "docs" / "errors.md").read_text().partition("\n## Statuses\n")[2]
    rows = re.findall(r"^\| (\d{3}(?:, \d{3})*) \|", text, re.MULTILINE)
    assert {int(status) for row in rows for status in row.split(", ")} == problems.KINDS.keys()
