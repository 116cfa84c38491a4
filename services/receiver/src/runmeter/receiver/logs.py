"""Log lines: structlog to standard error, one JSON object or one text line each."""

import logging
from typing import TextIO

import structlog

from runmeter.receiver import events

LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
FORMATS = ("json", "text")
_UNSENT = "ExecuteBatchError"  # gRPC's, which it exports only as a part of its core


class _Forwarder(logging.Handler):
    """Hands what libraries log to structlog, so that every line has one form.

    That an answer could not be sent, since its caller had gone, is nothing to warn of.
    """

    def emit(self, record: logging.LogRecord) -> None:
        kind = record.exc_info[0] if record.exc_info else None
        is_unsent = kind is not None and kind.__name__ == _UNSENT
        structlog.get_logger().log(
            logging.DEBUG if is_unsent else record.levelno,
            events.LIBRARY_WARNED,
            logger=record.name,
            message=record.getMessage(),
            exc_info=record.exc_info,
        )


def configure(level: str, log_format: str | None, stream: TextIO) -> None:
    """Set up logging of the whole process.

    Without a format: text on a terminal, JSON elsewhere. Libraries are heard from warning on:
    below it they name statements with their values. Tracebacks are plain, without locals.
    """
    text = log_format == "text" or (log_format is None and stream.isatty())
    renderer: structlog.typing.Processor
    if text:
        renderer = structlog.dev.ConsoleRenderer(
            colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
        shaping: list[structlog.typing.Processor] = []
    else:
        renderer = structlog.processors.JSONRenderer(ensure_ascii=True, sort_keys=True)
        shaping = [structlog.processors.format_exc_info]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *shaping,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(file=stream),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(handlers=[_Forwarder()], level=logging.WARNING, force=True)
