"""The routes as their callers see them: one entry each, and the document made of all."""

from collections.abc import Mapping
from importlib.metadata import version
from typing import Annotated, Any, Literal, TypeAlias

from runmeter.gateway.openapi.document import Answer, Head, Json, Operation, Parameter, document
from runmeter.gateway.schemas import api as schemas
from runmeter.gateway.schemas.api import (
    JobName,
    OrganizationName,
    RepositoryName,
    RunId,
    WorkflowName,
)
from runmeter.gateway.schemas.describe import AFTER, LIMIT_MAX, PATH, about, moment, text, whole
from runmeter.gateway.schemas.instant import Instant

READ = "readToken"
PUSH = "pushToken"

_REQUEST_ID = Parameter(
    "X-Request-ID",
    "header",
    Annotated[str, about("1 to 64 of `A-Z a-z 0-9 . _ -`; anything else is replaced.", "build-7")],
)
_IF_NONE_MATCH = Parameter(
    "If-None-Match",
    "header",
    Annotated[str, about("The ETag of an answer before: 304 if it is still so.", '"etag-1"')],
)
_ORGANIZATION = Parameter("org", "path", OrganizationName)
_REPOSITORY = Parameter("repo", "path", RepositoryName)
_OWNER = Parameter(
    "owner",
    "path",
    Annotated[str, text("What stands before the slash.", "my-org", minimum=1, form=PATH)],
)
_NAME = Parameter(
    "name",
    "path",
    Annotated[str, text("What stands behind the slash.", "my-repo", minimum=1, form=PATH)],
)
_WORKFLOW = Parameter("workflow", "path", WorkflowName)
_JOB = Parameter("job", "path", JobName)
_Asset: TypeAlias = Annotated[
    Literal["start.js", "swagger-ui-bundle.js", "swagger-ui.css"], about("Its name.", "start.js")
]
_LIMIT = Parameter(
    "limit",
    "query",
    Annotated[int, whole("At most so many; without it 1000.", 20, "entries", 1, LIMIT_MAX)],
)
_OF_RUNS = (
    Parameter(
        "state",
        "query",
        Annotated[
            Literal["running", "interrupted", "completed", "all"],
            about("Only runs of this state; without it completed and interrupted.", "all"),
        ],
    ),
    _LIMIT,
    Parameter(
        "before", "query", Annotated[int, whole("Only runs with a smaller id.", 77, "none", 1)]
    ),
    Parameter(
        "since",
        "query",
        Annotated[Instant, moment("Only runs received then or later.", "2026-02-06T00:00:00Z")],
    ),
    Parameter(
        "until",
        "query",
        Annotated[Instant, moment("Only runs received before.", "2026-02-07T00:00:00+01:00")],
    ),
    Parameter("run_id", "query", RunId),
)
_OF_NAMES = (
    _LIMIT,
    Parameter(
        "after",
        "query",
        Annotated[
            str,
            about(
                "What follows a page: taken from its Link, not made.",
                "bXktb3JnAG15LW9yZy9teS1yZXBv",
                maxLength=1024,
                pattern=AFTER,
            ),
        ],
    ),
)

# -- statuses ---------------------------------------------------------------------------------

# of any request that HTTP itself, or the server, cannot take
_ANY: Mapping[int, str] = {
    405: "Another method than those of this path; Allow has them.",
    **dict.fromkeys((400, 408, 413, 414, 417, 429, 431, 500, 503), ""),
}
_CALL: Mapping[int, str] = {**_ANY, 504: ""}
_READ: Mapping[int, str] = {
    **_CALL,
    400: "A name or a parameter is bad, unknown or given twice: all of them are in `errors`.",
    401: "No bearer, or it is not the read token.",
}
_LIST: Mapping[int, str] = {**_READ, 404: "A part of the path is empty."}
_BODY: Mapping[int, str] = {
    **_CALL,
    400: "No JSON object in UTF-8, or fields that are missing or bad: all of them are in `errors`.",
    408: "The body did not arrive in time.",
    413: "The body is larger than the gateway or the receiver takes.",
    415: "The body is not declared as JSON in UTF-8, or it is compressed.",
}
_UNCHANGED = Answer("It is still as If-None-Match has it.", media=None, headers=("ETag",))

# -- routes -----------------------------------------------------------------------------------


def _listing(path: str, name: str, kind: Any, summary: str, description: str) -> Operation:
    """What all listings share: they are arrays, may go on, and need not be sent twice."""
    array = Annotated[list[kind], about(summary, maxItems=LIMIT_MAX)]
    answer = Answer(summary, array, headers=("ETag", "Link"))
    return Operation(
        path,
        "GET",
        name,
        "queries",
        summary,
        description,
        {200: answer, 304: _UNCHANGED},
        _LIST,
        token=READ,
    )


def _both_forms(one: Operation, *parameters: Parameter) -> tuple[Operation, Operation]:
    """One entry for each form of a repository: one part of the path, or two."""
    of_owner = {_REPOSITORY: (_OWNER, _NAME)}
    two = [part for found in parameters for part in of_owner.get(found, (found,))]
    return (
        one._replace(parameters=parameters),
        one._replace(
            path=one.path.replace("{repo}", "{owner}/{name}"),
            name=f"{one.name}OfOwner",
            summary=f"{one.summary}; the repository as two parts of the path",
            parameters=tuple(two),
        ),
    )


def _page(path: str, name: str, summary: str, media: str) -> Operation:
    answer = Answer(summary, media=media, headers=("ETag", "Content-Security-Policy"))
    return Operation(
        path,
        "GET",
        name,
        "documentation",
        summary,
        "Loads nothing from another host.",
        {200: answer, 304: _UNCHANGED},
        _ANY,
        (_IF_NONE_MATCH,),
    )


OPERATIONS = (
    Operation(
        "/api/v1/metrics",
        "POST",
        "pushRun",
        "pushes",
        "Store a run",
        "A run is stored once for its `push_id`: repeating a push is safe. Without `push_id` each "
        "POST is a completed run of its own. Unknown fields are ignored; `null` is the same as "
        "leaving a field out; a whole number has no decimal point.",
        {
            201: Answer("It is stored.", schemas.Pushed),
            200: Answer("It changed nothing: `duplicate` is true.", schemas.Pushed),
        },
        {
            **_BODY,
            401: "No bearer, or none of a push token's form, or it has expired.",
            403: "The push token is for another scope.",
            409: "An equal push is stored with other content.",
        },
        token=PUSH,
        body=schemas.RunBody,
    ),
    Operation(
        "/api/v1/token",
        "POST",
        "createPushToken",
        "tokens",
        "Mint a push token",
        "The token may push runs of one scope, and nothing else. Nothing is stored: the same "
        "scope gives the same token.",
        {200: Answer("The token.", schemas.Token)},
        {**_BODY, 401: _READ[401]},
        token=READ,
        body=schemas.TokenBody,
    ),
    *_both_forms(
        _listing(
            "/api/v1/metrics/repo/{org}/{repo}/{workflow}/{job}",
            "listRuns",
            schemas.RunRecord,
            "The runs of a job, newest first",
            "Each part of the path is percent-decoded once; a slash within one is `%2F`. The "
            "array is streamed: one that ends with `]` is whole.",
        ),
        *(_ORGANIZATION, _REPOSITORY, _WORKFLOW, _JOB, *_OF_RUNS, _IF_NONE_MATCH),
    ),
    _listing(
        "/api/v1/repos",
        "listRepositories",
        schemas.Repository,
        "The repositories that have runs, by name",
        "Runs of every state count.",
    )._replace(parameters=(*_OF_NAMES, _IF_NONE_MATCH)),
    *_both_forms(
        _listing(
            "/api/v1/repos/{org}/{repo}/jobs",
            "listJobs",
            schemas.Job,
            "The jobs of a repository that have runs, by name",
            "Runs of every state count. None if the repository is not known.",
        ),
        *(_ORGANIZATION, _REPOSITORY, *_OF_NAMES, _IF_NONE_MATCH),
    ),
    Operation(
        "/health",
        "GET",
        "health",
        "documentation",
        "Whether the gateway serves",
        "Says nothing about the receiver.",
        {200: Answer("It does.", schemas.Health)},
        {status: text for status, text in _ANY.items() if status != 429},  # no limit counts it
    ),
    _page("/openapi.json", "openapi", "This document", "application/json"),
    _page("/docs", "docs", "This document as a page", "text/html"),
    _page("/docs/{asset}", "docsAsset", "What that page loads", "*/*")._replace(
        parameters=(Parameter("asset", "path", _Asset), _IF_NONE_MATCH),
        problems={**_ANY, 404: "There is no such file."},
    ),
)
"""Every route, and nothing else: a test compares them with those of the running app."""


def _header(text: str, example: str, *, required: bool = True) -> Json:
    schema = {"type": "string"}
    return {"description": text, "required": required, "schema": schema, "example": example}


_HEAD = Head(
    info={
        "title": "Runmeter",
        "summary": "What CI jobs really use, measured and kept.",
        "description": "Sizes are bytes, times are UTC. What could not be measured is absent. "
        "Within `/api/v1` changes are additive: ignore fields you do not know.",
        "version": "",
    },
    tags={
        "pushes": "Runs, taken in.",
        "tokens": "What may push.",
        "queries": "What is stored.",
        "documentation": "The API itself.",
    },
    tokens={
        READ: "The token the receiver was started with: reads, and mints push tokens.",
        PUSH: "A token of `POST /api/v1/token`: pushes runs of one scope.",
    },
    headers={
        "X-Request-ID": _header("As sent, or made; also in the log.", "build-7"),
        "Cache-Control": _header("How long it may be kept.", "no-store"),
        "ETag": _header("Changes when the answer does.", '"etag-1"'),
        "Content-Security-Policy": _header("What the page may do.", "default-src 'none'"),
        "Link": _header(
            "Where it goes on, if it does.", '</api/v1/repos?after=bXk>; rel="next"', required=False
        ),
        "WWW-Authenticate": _header("What to send.", "Bearer"),
        "Allow": _header("The methods of this path.", "GET, HEAD"),
        "Accept": _header("What to send.", "application/json"),
        "Retry-After": _header("When to try again, seconds.", "1"),
    },
    everywhere=("X-Request-ID", "Cache-Control"),
    problem_headers={
        401: ("WWW-Authenticate",),
        405: ("Allow",),
        415: ("Accept",),
        **dict.fromkeys((429, 503), ("Retry-After",)),
    },
    parameters=(_REQUEST_ID,),
)


def describe() -> Json:
    """Return the OpenAPI document of this gateway, with its version."""
    head = _HEAD._replace(info=_HEAD.info | {"version": version("runmeter-gateway")})
    return document(head, OPERATIONS)
