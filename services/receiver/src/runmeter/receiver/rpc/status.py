"""Error details: google.rpc.Status with BadRequest and RetryInfo.

A client takes 8 KiB of trailing metadata by default and fails the call with another status
beyond it; the readable text, the details (which hold that text again) and base64 must fit.
"""

from collections.abc import Iterable

from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]

from runmeter.receiver.errors import CallError, InvalidRequest, Violation

MESSAGE_MAX_BYTES = 1000
VIOLATIONS_MAX_BYTES = 2500


def status_of(error: CallError, code_number: int) -> status_pb2.Status:
    """Return the status of an error: bounded text, and its facts as details."""
    status = status_pb2.Status(code=code_number, message=bounded_text(str(error)))
    if isinstance(error, InvalidRequest):
        status.details.add().Pack(_bad_request(error))
    if error.retry_after_seconds is not None:
        info = error_details_pb2.RetryInfo()
        info.retry_delay.FromMilliseconds(round(error.retry_after_seconds * 1000))
        status.details.add().Pack(info)
    return status


def bounded_text(text: str) -> str:
    """Return printable text of bounded length, as it goes into metadata: percent-encoded UTF-8."""
    shown, size_bytes = "", 0
    for character in text:
        part = character if character.isprintable() else ascii(character)[1:-1]
        is_encoded = part == "%" or not part.isascii()
        size_bytes += len(part.encode()) * (3 if is_encoded else 1)
        if size_bytes > MESSAGE_MAX_BYTES - 3:
            return f"{shown}..."
        shown += part
    return shown


def _bad_request(error: InvalidRequest) -> error_details_pb2.BadRequest:
    listed = list(_fitting(error.violations))
    details = error_details_pb2.BadRequest()
    for violation in listed:
        details.field_violations.add(field=violation.field, description=violation.reason)
    omitted_count = error.omitted_count + len(error.violations) - len(listed)
    if omitted_count:
        details.field_violations.add(
            field="", description=f"and {omitted_count} more fields are bad"
        )
    return details


def _fitting(violations: Iterable[Violation]) -> Iterable[Violation]:
    size_bytes = 0
    for violation in violations:
        size_bytes += len(violation.field.encode()) + len(violation.reason.encode()) + 6
        if size_bytes > VIOLATIONS_MAX_BYTES:
            return
        yield violation
