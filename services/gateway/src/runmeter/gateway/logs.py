"""Logging: structlog to stderr, what libraries log included."""

from __future__ import annotations

import logging
import sys
from typing import Final, TextIO

import structlog

from runmeter.gateway import events
from runmeter.gateway.config import LogFormat

_LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}


def configure(level: str, log_format: LogFormat | None, stream: TextIO = sys.stderr) -> None:
    """Set up the process: one line per event to ``stream``.

    Without a format: text on a terminal, JSON everywhere else.
    """
    as_text = stream.isatty() if log_format is None else log_format == "text"
    renderers: list[structlog.typing.Processor] = (
        [structlog.dev.ConsoleRenderer(colors=stream.isatty())]
        if as_text
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *renderers,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=logging.WARNING, handlers=[_Forwarding()], force=True)


_SANIC_ADVICE = "Sanic is running in PRODUCTION mode"


class _Forwarding(logging.Handler):
    """Hands what libraries log (asyncio, grpc, sanic) to structlog, as one event."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log it; but for Sanic's advice on its own --debug flag, which we do not have."""
        if _SANIC_ADVICE in record.getMessage():
            return
        structlog.get_logger().log(
            record.levelno,
            events.LIBRARY_WARNED,
            logger=record.name,
            message=record.getMessage(),
            exc_info=record.exc_info,
        )
