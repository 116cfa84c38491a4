"""README and --help say what the program does."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from runmeter.gateway import events
from runmeter.gateway.settings import SETTINGS
from runmeter.gateway.web import problems

ROOT = Path(__file__).parents[3]


def test_readme_has_every_setting() -> None:
    """The table of the README has every flag with its variable and default, and no other."""
    text = (ROOT / "services" / "gateway" / "README.md").read_text()
    rows = re.findall(r"^\| `(--[a-z-]+)` \| `([A-Z_]+)` \| (.+?) \| .+ \|$", text, re.MULTILINE)
    assert [row[0] for row in rows] == [option.flag for option in SETTINGS]
    for (_, variable, default), option in zip(rows, SETTINGS, strict=True):
        assert variable == option.variable
        assert not option.default or default.startswith(f"`{option.default}`")


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


def test_every_event_is_documented() -> None:
    """docs/events.md has a line for each event."""
    text = (ROOT / "docs" / "events.md").read_text().partition("\n## gateway\n")[2]
    assert set(re.findall(r"^\| `([a-z]+\.[a-z]+)` ", text, re.MULTILINE)) == events.EVENTS.keys()
