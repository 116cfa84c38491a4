"""The JSON of the REST API as types: bodies and answers.

Input is strict (no string for a number, no ``5.0`` for a whole number), unknown fields are
ignored, ``null`` in an optional field means that it is absent. Ranges within 64 bits are checked by
the receiver, all at once, after the token. Output leaves out absent fields.
"""

from typing import Annotated, Any, Literal, TypeAlias

from msgspec import Struct, json

from runmeter.gateway.schemas.describe import (
    INT32_MAX,
    LOOSE_PATH,
    PATH,
    PUSH_TOKEN,
    TEXT,
    UUID,
    about,
    answered,
    text,
    whole,
)
from runmeter.gateway.schemas.instant import Instant, parse_instant
from runmeter.gateway.schemas.payload import Int32, Int64, Summary

RunState: TypeAlias = Literal["running", "interrupted", "completed"]

_PUSH_ID = "0c8f5b1e-3d52-4c8e-9a57-6f1f0d2b7a44"
_RECEIVED = "2026-02-06T14:30:23.056Z"
_TOKEN = "2aa2cfbe5944440fdd834d3fd6758c5d577234b45b47bf375a298145a2ba6857.1770391823"
_EITHER_FORM = "Repository, with or without its organization."
_STATE = "State of the run; interrupted: its collector ended early or stopped pushing."

OrganizationName: TypeAlias = Annotated[
    str, text("Owner of the repository.", "my-org", minimum=1, form=PATH)
]
RepositoryName: TypeAlias = Annotated[
    str, text(_EITHER_FORM, "my-org/my-repo", minimum=1, form=PATH)
]
FullRepositoryName: TypeAlias = Annotated[
    str,
    text(
        "Repository with its organization.",
        "my-org/my-repo",
        minimum=1,
        form=PATH,
    ),
]
WorkflowName: TypeAlias = Annotated[str, text("Workflow.", "ci.yml", minimum=1, form=LOOSE_PATH)]
JobName: TypeAlias = Annotated[str, text("Job.", "build", minimum=1, form=LOOSE_PATH)]
RunId: TypeAlias = Annotated[str, text("Id given by the CI system; empty: none.", "run-123")]
PushId: TypeAlias = Annotated[
    str,
    about(
        "Id within its scope, the same in all retries.",
        _PUSH_ID,
        minLength=36,
        maxLength=36,
        pattern=UUID,
    ),
]
RunnerName: TypeAlias = Annotated[str, text("Runner that ran the job.", "runner-a", minimum=1)]
Version: TypeAlias = Annotated[str, text("Version of the collector.", "0.1.0", 63)]
Attempt: TypeAlias = Annotated[
    Int32, whole("Attempt of the CI run, from 1.", 2, "attempts", 1, INT32_MAX)
]
ExitCode: TypeAlias = Annotated[
    Int32, whole("Exit status of a wrapped command.", 1, "none", 0, 255)
]
Revision: TypeAlias = Annotated[
    Int64, whole("Increases with every checkpoint of the collector.", 4, "none", 1)
]
Labels: TypeAlias = Annotated[
    dict[str, str],
    about(
        "Labels set for the job. At most 32; keys at most 63 bytes, values at most 255.",
        {"os": "debian", "python": "3.13"},
        maxProperties=32,
        propertyNames={"minLength": 1, "maxLength": 63, "pattern": TEXT},
        additionalProperties={"type": "string", "maxLength": 255, "pattern": TEXT},
    ),
]
NextPush: TypeAlias = Annotated[
    float,
    about(
        "In running pushes: time until the next one is due. A run without push for three times as "
        "long is interrupted.",
        300.5,
        "seconds",
        exclusiveMinimum=0,
        maximum=86400,
    ),
]
Id: TypeAlias = Annotated[
    int, whole("Given by the receiver; later runs have higher ids.", 7, "none", 1)
]
RunCount: TypeAlias = Annotated[int, whole("Number of its runs, of all states.", 7, "runs", 1)]


class Scope(Struct, kw_only=True):
    """One job of one workflow of one repository; ``repository`` with or without its owner."""

    organization: OrganizationName
    repository: RepositoryName
    workflow: WorkflowName
    job: JobName


class TokenBody(Scope, kw_only=True):
    """The scope of a new push token, and how long it is valid."""

    expires_in_seconds: Annotated[
        Int64 | None,
        whole("Validity of the token; absent: it never expires.", 3600, "seconds", 1, 3153600000),
    ] = None


class RunBody(Scope, kw_only=True):
    """A run as it is pushed.

    Without ``push_id`` it is a new completed run; ``state`` and ``revision`` are then ignored.
    """

    run_id: RunId
    push_id: PushId | None = None
    state: Annotated[RunState | None, about(_STATE, "completed")] = None
    revision: Revision | None = None
    run_attempt: Attempt | None = None
    runner_name: RunnerName | None = None
    labels: Labels | None = None
    exit_code: ExitCode | None = None
    collector_version: Version | None = None
    next_push_within_seconds: NextPush | None = None
    payload: Annotated[Summary, about("What was measured.")]


class RunRecord(Struct, kw_only=True, omit_defaults=True, gc=False):
    """One stored run."""

    id: Id
    organization: OrganizationName
    repository: FullRepositoryName
    workflow: WorkflowName
    job: JobName
    run_id: RunId
    push_id: PushId
    state: Annotated[RunState | None, about(_STATE, "completed")] = None
    revision: Revision
    run_attempt: Attempt | None = None
    runner_name: RunnerName | None = None
    labels: Labels | None = None
    exit_code: ExitCode | None = None
    collector_version: Version | None = None
    next_push_within_seconds: NextPush | None = None
    received_at: Annotated[Instant, answered("When its first push arrived.", _RECEIVED)]
    updated_at: Annotated[
        Instant, answered("When the last push that changed it arrived.", _RECEIVED)
    ]
    payload: Annotated[Summary, about("What was measured.")]


class LastRun(Struct, kw_only=True, omit_defaults=True):
    """The newest run: the one with the highest id.

    ``state`` is absent if this gateway does not know it yet.
    """

    id: Id
    received_at: Annotated[Instant, answered("When its first push arrived.", _RECEIVED)]
    state: Annotated[RunState | None, about(_STATE, "completed")] = None


class Repository(Struct, kw_only=True):
    """A repository that has runs."""

    organization: OrganizationName
    repository: FullRepositoryName
    run_count: RunCount
    last_run: Annotated[LastRun, about("Its newest run.")]


class Job(Struct, kw_only=True):
    """A job that has runs."""

    workflow: WorkflowName
    job: JobName
    run_count: RunCount
    last_run: Annotated[LastRun, about("Its newest run.")]


class Pushed(Struct):
    """The result of a push."""

    id: Id
    duplicate: Annotated[bool, about("Nothing changed: this push or a later one is stored.", False)]


class Token(Struct, omit_defaults=True):
    """A push token: it may only push runs of one scope."""

    token: Annotated[
        str,
        about(
            "64 hex digits; if it expires, a dot and its unix time.",
            _TOKEN,
            minLength=64,
            maxLength=84,
            pattern=PUSH_TOKEN,
        ),
    ]
    expires_at: Annotated[
        Instant | None, answered("When it expires; absent: never.", "2026-02-06T15:30:23.000Z")
    ] = None


class Health(Struct):
    """The gateway serves."""

    status: Annotated[Literal["ok"], about("Always ok.", "ok")] = "ok"


def decode_custom(expected: type[Any], value: object) -> object:
    """Decode a type that msgspec does not know: only `Instant`.

    Raises:
        ValueError: the value is not a time; its text is the reason.
    """
    if expected is not Instant:
        raise NotImplementedError(expected)
    if not isinstance(value, str):
        raise ValueError("is not a string")
    return parse_instant(value)


def _encode_custom(value: object) -> str:
    if isinstance(value, Instant):
        return str(value)
    raise NotImplementedError(type(value))


_ENCODER = json.Encoder(enc_hook=_encode_custom)


def encode(value: object) -> bytes:
    """Encode a value of these types as JSON."""
    return _ENCODER.encode(value)


def encode_into(values: list[RunRecord], buffer: bytearray) -> None:
    """Encode runs as a JSON array into the buffer, replacing its content."""
    _ENCODER.encode_into(values, buffer)
