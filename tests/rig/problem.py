"""Problem documents: what every error over REST looks like."""

import re

import httpx

_INTERNAL = re.compile(r"Traceback|File \\?\"|runmeter\.|grpc|sqlite|tortoise|sanic", re.IGNORECASE)


def problem(answer: httpx.Response, status: int) -> dict[str, str]:
    """Check that an answer is the problem with this status; return reasons by field.

    RFC 9457 with ``type, title, status, detail, request_id`` and, for bad fields, ``errors``;
    nothing internal in any text.
    """
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document = answer.json()
    errors = document.pop("errors", [])
    assert document.keys() == {"type", "title", "status", "detail", "request_id"}
    assert document["status"] == status
    assert document["request_id"] == answer.headers["x-request-id"]
    assert document["type"]
    assert document["title"]
    assert document["detail"]
    assert not _INTERNAL.search(answer.text), answer.text
    for error in errors:
        assert error.keys() == {"field", "reason"}
        assert error["reason"]
    assert status == 400 or not errors
    return {error["field"]: error["reason"] for error in errors}
