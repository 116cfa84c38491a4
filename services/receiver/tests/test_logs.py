"""What libraries log comes out as lines of ours."""

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog
from grpc._cython import cygrpc

from runmeter.receiver.cli import log_level
from runmeter.service import logs


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """Leave logging as it was."""
    root = logging.getLogger()
    before = root.handlers[:], root.level, structlog.get_config()
    yield
    root.handlers[:], root.level = before[:2]
    structlog.configure(**before[2])


@pytest.mark.parametrize(
    ("level", "error", "shown"),
    [
        ("info", cygrpc.ExecuteBatchError("the call has ended"), []),
        ("debug", cygrpc.ExecuteBatchError("the call has ended"), ["debug"]),
        ("info", cygrpc.UsageError("not like this"), ["error"]),
        ("info", ValueError("else"), ["error"]),
    ],
)
def test_an_unsent_answer_is_no_error(level: str, error: Exception, shown: list[str]) -> None:
    """A library's record is a line at its level; an answer whose caller has left is at debug."""
    stream = io.StringIO()
    logs.configure(logs.LogConfig(level, "json"), stream, log_level)
    logging.getLogger("grpc").error("raised by a method", exc_info=error)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["level"] for line in lines] == shown
    assert all(str(error) in line["exception"] for line in lines)
