"""Log lines of the service and of its libraries."""

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from runmeter.service.errors import ConfigurationError
from runmeter.service.logs import LogConfig, configure, log_config
from runmeter.service.settings import Given, Setting

SETTINGS = (
    Setting("--log-level", "X_LOG_LEVEL", "LEVEL", "info", "Level."),
    Setting("--log-format", "X_LOG_FORMAT", "FORMAT", None, "Format."),
)


class Terminal(io.StringIO):
    """A stream that is a terminal."""

    def isatty(self) -> bool:
        """Return that it is a terminal."""
        return True


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """Restore the configuration of logging."""
    root = logging.getLogger()
    before = root.handlers[:], root.level, structlog.get_config()
    yield
    root.handlers[:], root.level = before[:2]
    structlog.configure(**before[2])


def test_config() -> None:
    """Level and format come from the settings."""
    assert log_config(Given(SETTINGS, {}, {})) == ("info", None)
    assert log_config(Given(SETTINGS, {"log_level": "error"}, {"X_LOG_FORMAT": "text"})) == (
        "error",
        "text",
    )
    assert log_config(Given(SETTINGS, {"log_level": "warn"}, {})).level == "warning"
    assert log_config(Given(SETTINGS, {}, {"X_LOG_LEVEL": "warn"})).level == "warning"
    for flags in ({"log_level": "INFO"}, {"log_format": "xml"}):
        with pytest.raises(ConfigurationError, match=r"must be one of"):
            log_config(Given(SETTINGS, flags, {}))


@pytest.mark.parametrize(
    ("stream", "log_format", "as_text"),
    [
        (io.StringIO(), None, False),
        (Terminal(), None, True),
        (io.StringIO(), "text", True),
        (Terminal(), "json", False),
    ],
)
def test_formats(stream: io.StringIO, log_format: str | None, as_text: bool) -> None:
    """Without a format: text on a terminal, JSON elsewhere; one line per event."""
    configure(LogConfig("info", log_format), stream)
    structlog.get_logger().debug("left.out")
    with structlog.contextvars.bound_contextvars(peer="p"):
        structlog.get_logger().info("run.pushed", name="é")
    (line,) = stream.getvalue().splitlines()
    if as_text:
        assert "run.pushed" in line
        return
    found = json.loads(line)
    assert found.pop("timestamp").endswith("Z")
    assert found == {"event": "run.pushed", "level": "info", "name": "é", "peer": "p"}


def test_libraries() -> None:
    """Warnings and errors of libraries are logged; a service may change their level."""

    def level_of(record: logging.LogRecord) -> int | None:
        return {"gone": logging.DEBUG, "advice": None}.get(record.getMessage(), record.levelno)

    stream = io.StringIO()
    configure(LogConfig("info", "json"), stream, level_of)
    library = logging.getLogger("library")
    for message in ("gone", "advice", "broken"):
        library.error(message, exc_info=ValueError("why"))
    library.info("not from here on")
    (line,) = map(json.loads, stream.getvalue().splitlines())
    assert (line["event"], line["level"]) == ("library.warned", "error")
    assert (line["logger"], line["message"]) == ("library", "broken")
    assert "ValueError: why" in line["exception"]
