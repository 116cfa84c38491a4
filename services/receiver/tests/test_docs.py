"""README and events say what the program does."""

import re
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from runmeter.receiver import events
from runmeter.receiver.metrics import Metrics
from runmeter.receiver.settings import SETTINGS


def test_readme_has_every_setting() -> None:
    """The table of the README is the table of settings."""
    text = (Path(__file__).parents[1] / "README.md").read_text()
    for setting in SETTINGS:
        flag = f"{setting.flag} {setting.metavar}".strip()
        default = f"`{setting.default}`" if setting.default else "none"
        assert f"| `{flag}` | `{setting.variable}` | {default} | {setting.help} |" in text


def test_readme_has_every_metric() -> None:
    """The table of the README names what /metrics shows, and nothing else of ours."""
    metrics = Metrics("0", ())
    metrics.watch_queue(int, int)
    metrics.certificate_expires(0.0)
    shown = text_string_to_metric_families(metrics.text().decode())
    exported = {
        f"{family.name}_total" if family.type == "counter" else family.name
        for family in shown
        if family.name.startswith("runmeter_") and not family.name.endswith("_created")
    }
    text = (Path(__file__).parents[1] / "README.md").read_text()
    documented = set(re.findall(r"`(runmeter_receiver_[a-z_]+)`", text))
    assert {name.removesuffix("_info") for name in documented} == {
        name.removesuffix("_info") for name in exported
    }


def test_every_event_is_documented() -> None:
    """Each constant has its entry, and each is noun.verb in lower case."""
    constants = {name: value for name, value in vars(events).items() if name.isupper()}
    names = {value for value in constants.values() if isinstance(value, str)}
    assert names == set(events.EVENTS)
    for name, event in events.EVENTS.items():
        noun, _, verb = name.partition(".")
        assert noun.isidentifier()
        assert verb.replace("_", "").isalpha()
        assert event.meaning.endswith(".")
