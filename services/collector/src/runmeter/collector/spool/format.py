"""The content and the name of a run's file in the spool."""

import json
from typing import Any

from runmeter.collector.errors import ForeignError, LaterError

FORMAT = 1


def encode(run: dict[str, Any], reason: str = "") -> bytes:
    """Return the file's content for a run in the JSON form of the REST interface.

    ``reason``: why the receiver rejected the run, for files in ``rejected/``; of a waiting run,
    why it refused the last token.
    """
    document: dict[str, Any] = {"format": FORMAT, "run": run}
    if reason:
        document["reason"] = reason
    return json.dumps(document, separators=(",", ":")).encode("ascii")


def decode(raw: bytes) -> dict[str, Any]:
    """Return the run.

    Raises:
        LaterError: a later version has written it.
        ForeignError: not a run.
    """
    run: dict[str, Any] = decode_document(raw)["run"]
    return run


def decode_document(raw: bytes) -> dict[str, Any]:
    """Return the whole document: ``run``, and ``reason`` if it was refused; errors as `decode`."""
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise ForeignError(f"is not a run: {error}") from error
    if not isinstance(document, dict) or not document.keys() & {"format", "run"}:
        raise ForeignError("is not a run")
    found = document.get("format")
    if found is True or found != FORMAT:
        is_later = isinstance(found, int | float) and found is not True and found > FORMAT
        raise (LaterError if is_later else ForeignError)(
            f"has format {found!r}, this version reads {FORMAT}"
        )
    if not isinstance(document.get("run"), dict):
        raise ForeignError("is not a run")
    return document


def is_push_id(text: str) -> bool:
    """Return whether a text is a UUID in its 36-character lower-case form."""
    parts = text.split("-")
    digits = set("0123456789abcdef")
    return [len(part) for part in parts] == [8, 4, 4, 4, 12] and set("".join(parts)) <= digits
