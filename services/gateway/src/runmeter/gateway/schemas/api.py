"""The JSON of the REST API as types; runs and the bodies of requests are those of the contract.

Output leaves out absent fields.
"""

from collections.abc import Mapping
from typing import Annotated, Literal, TypeAlias

from msgspec import Struct, json

from runmeter.gateway.schemas.describe import (
    LOOSE_PATH,
    PATH,
    PUSH_TOKEN,
    about,
    answered,
    text,
    whole,
)
from runmeter.v1.json_writing import StoredRun as StoredRun

RunState: TypeAlias = Literal["running", "interrupted", "completed"]

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


class TokenBody(Struct):
    """The scope of a new push token, and how long it is valid."""


class RunBody(Struct):
    """A run as it is pushed.

    Without ``push_id`` it is a new completed run; ``state`` and ``revision`` are then ignored.
    """


class RunRecord(Struct):
    """One stored run."""


CONTRACT: Mapping[str, str] = {
    "TokenBody": "CreatePushTokenRequest",
    "RunBody": "Run",
    "RunRecord": "StoredRun",
}
"""The messages of the contract that the empty types above stand for."""


class LastRun(Struct, kw_only=True, omit_defaults=True):
    """The newest run: the one with the highest id.

    ``state`` is absent if this gateway does not know it yet.
    """

    id: Id
    received_at: Annotated[str, answered("When its first push arrived.", _RECEIVED)]
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
        str | None, answered("When it expires; absent: never.", "2026-02-06T15:30:23.000Z")
    ] = None


class Health(Struct):
    """The gateway serves."""

    status: Annotated[Literal["ok"], about("Always ok.", "ok")] = "ok"


_ENCODER = json.Encoder()
encode = _ENCODER.encode
"""Encode a value as JSON."""
encode_into = _ENCODER.encode_into
"""Encode a value as JSON into a buffer, replacing its content."""
