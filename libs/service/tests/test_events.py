"""The table of events."""

from runmeter.service.events import LIBRARY_WARNED, LIBRARY_WARNING, Event, table


def test_table() -> None:
    """Each event is a row of a Markdown table, in the order of the table."""
    events = {
        "run.pushed": Event("info", "A run was pushed.", ("id", "duplicate")),
        "receiver.found": Event("info", "It serves again.", ()),
        LIBRARY_WARNED: LIBRARY_WARNING,
    }
    assert table(events).splitlines() == [
        "| event | level | meaning | keys |",
        "|---|---|---|---|",
        "| `run.pushed` | info | A run was pushed. | `id`, `duplicate` |",
        "| `receiver.found` | info | It serves again. |  |",
        "| `library.warned` | warning, error | A library logged a warning or an error. "
        "| `logger`, `message`, `exception` |",
    ]
