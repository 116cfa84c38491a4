"""What became of a push, and of each waiting run."""

from typing import Any, NamedTuple

PUSHED, KEPT, REJECTED = PUSHER_CODES = 0, 3, 4  # exit codes


class Acknowledgement(NamedTuple):
    """What the receiver answered."""

    id: int
    duplicate: bool


class Outcome(NamedTuple):
    """What became of one waiting run: ``pushed``, ``kept``, ``rejected`` or ``live``.

    ``hint``: what to do, if it is known.
    """

    what: str
    push_id: str
    path: str
    run: dict[str, Any] | None
    reason: str
    stored: Acknowledgement | None
    hint: str = ""
