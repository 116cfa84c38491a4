"""What ``--help`` says, and docs/configuration.md with it, is what the program does."""

import re
import subprocess
import sys

from runmeter.collector.config import settings


def test_the_defaults_are_those_of_the_program() -> None:
    """Giving the value that the help calls the default changes nothing."""
    shown = subprocess.run(
        [sys.executable, "-I", "-m", "runmeter.collector", "--help"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    entries = re.findall(r"^  (--[a-z-]+)(.*?)(?=^  -|^$)", shown, re.MULTILINE | re.DOTALL)
    defaults = {flag: re.search(r"\(default\s+([^$)]+)\)", text) for flag, text in entries}
    given = [f"{flag}={found[1]}" for flag, found in defaults.items() if found]
    assert len(given) > 6
    assert settings.load(given, {"HOME": "/h"}) == settings.load([], {"HOME": "/h"})
