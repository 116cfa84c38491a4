"""The JSON of an error."""

from typing import Annotated

from msgspec import Struct

from runmeter.gateway.errors import ERRORS_MAX
from runmeter.gateway.schemas.describe import about

TEXT_MAX = 1000
"""Maximum number of characters in a text."""


class Bad(Struct):
    """One entry of ``errors`` in a problem."""

    field: Annotated[
        str,
        about(
            "Name of the field; in a body its path.",
            "payload.sample_count",
            maxLength=TEXT_MAX,
        ),
    ]
    reason: Annotated[
        str,
        about("What is wrong with it.", "is -1; must be at least 0", maxLength=TEXT_MAX),
    ]


class Problem(Struct, omit_defaults=True):
    """An error, as defined by RFC 9457."""

    type: Annotated[
        str,
        about(
            "Kind of problem: a name, not an address.",
            "urn:runmeter:problem:conflict",
            maxLength=63,
        ),
    ]
    title: Annotated[str, about("Kind of problem, for people.", "Conflict", maxLength=63)]
    status: Annotated[int, about("The HTTP status.", 409, minimum=400, maximum=599)]
    detail: Annotated[
        str,
        about(
            "What happened, or what to do.",
            "The run is already stored with different content.",
            maxLength=TEXT_MAX,
        ),
    ]
    request_id: Annotated[
        str,
        about(
            "As in X-Request-ID and in the log.",
            "6f1c1b0e-5c0b-4a55-8f3e-0d6b8a3a2a11",
            minLength=1,
            maxLength=64,
        ),
    ]
    errors: Annotated[
        list[Bad] | None, about("All bad fields; at most 100.", maxItems=ERRORS_MAX)
    ] = None
