"""Log lines: structlog to a stream, one JSON object or one text line each.

::

    configure(log_config(given), sys.stderr)
    structlog.get_logger().info(SERVER_STARTED, address=":8080")
"""

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, TextIO

from runmeter.service.events import LIBRARY_WARNED
from runmeter.service.settings import Given
from runmeter.service.values import one_of

if TYPE_CHECKING:
    from structlog.typing import Processor

LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
FORMATS = ("json", "text")


class LogConfig(NamedTuple):
    """How to log; without a format: text on a terminal, JSON elsewhere."""

    level: str
    format: str | None


def log_config(given: Given) -> LogConfig:
    """Read the settings ``--log-level`` and ``--log-format``."""
    return LogConfig(given.value("log_level", _level), given.maybe("log_format", one_of(FORMATS)))


def _level(text: str) -> str:
    """Return a log level; ``warn`` is ``warning``."""
    return one_of(tuple(LEVELS))("warning" if text == "warn" else text)


def level_of(record: logging.LogRecord) -> int | None:
    """Return the level to log a library's record at; None: leave it out."""
    return record.levelno


def configure(
    config: LogConfig,
    stream: TextIO,
    level_of: Callable[[logging.LogRecord], int | None] = level_of,
) -> None:
    """Set up logging of the whole process.

    Of libraries, warnings and errors are logged: below that they name statements with their
    values. Tracebacks are plain, without local variables.
    """
    import structlog  # a probe reads settings and logs nothing

    as_text = stream.isatty() if config.format is None else config.format == "text"
    rendering: list[Processor]
    if as_text:
        rendering = [
            structlog.dev.ConsoleRenderer(
                colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback
            )
        ]
    else:
        rendering = [
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(ensure_ascii=True, sort_keys=True),
        ]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *rendering,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[config.level]),
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(handlers=[_Forwarder(level_of)], level=logging.WARNING, force=True)


class _Forwarder(logging.Handler):
    """Passes log records of libraries to structlog, so that all lines have the same form."""

    def __init__(self, level_of: Callable[[logging.LogRecord], int | None]) -> None:
        super().__init__()
        self._level_of = level_of

    def emit(self, record: logging.LogRecord) -> None:
        import structlog

        level = self._level_of(record)
        if level is not None:
            structlog.get_logger().log(
                level,
                LIBRARY_WARNED,
                logger=record.name,
                message=record.getMessage(),
                exc_info=record.exc_info,
            )
