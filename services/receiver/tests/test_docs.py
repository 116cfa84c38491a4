"""README and events say what the program does."""

from pathlib import Path

from runmeter.receiver import events
from runmeter.receiver.settings import SETTINGS


def test_readme_has_every_setting() -> None:
    """The table of the README is the table of settings."""
    text = (Path(__file__).parents[1] / "README.md").read_text()
    for setting in SETTINGS:
        flag = f"{setting.flag} {setting.metavar}".strip()
        default = f"`{setting.default}`" if setting.default else "none"
        assert f"| `{flag}` | `{setting.variable}` | {default} | {setting.help} |" in text


def test_every_event_is_documented() -> None:
    """Each constant has its entry, and each is noun.verb in lower case."""
    names = {value for name, value in vars(events).items() if name.isupper() and name != "EVENTS"}
    assert names == set(events.EVENTS)
    for name, event in events.EVENTS.items():
        noun, _, verb = name.partition(".")
        assert noun.isidentifier()
        assert verb.replace("_", "").isalpha()
        assert event.meaning.endswith(".")
