"""The routes for the OpenAPI document, one entry each, and the document."""

from collections.abc import Mapping
from importlib.metadata import version
from typing import Annotated, Any, Literal, TypeAlias

from runmeter.gateway.openapi.document import (
    PUSH,
    READ,
    Answer,
    Json,
    Operation,
    Parameter,
    document,
)
from runmeter.gateway.schemas import api as schemas
from runmeter.gateway.schemas.api import (
    JobName,
    OrganizationName,
    RepositoryName,
    RunId,
    WorkflowName,
)
from runmeter.gateway.schemas.describe import AFTER, LIMIT_MAX, PATH, about, moment, text, whole

_IF_NONE_MATCH = Parameter(
    "If-None-Match",
    "header",
    Annotated[str, about("ETag of an earlier answer: 304 if it has not changed.", '"etag-1"')],
)
_ORGANIZATION = Parameter("org", "path", OrganizationName)
_REPOSITORY = Parameter("repo", "path", RepositoryName)
_OWNER = Parameter(
    "owner",
    "path",
    Annotated[str, text("The part before the slash.", "my-org", minimum=1, form=PATH)],
)
_NAME = Parameter(
    "name",
    "path",
    Annotated[str, text("The part after the slash.", "my-repo", minimum=1, form=PATH)],
)
_WORKFLOW = Parameter("workflow", "path", WorkflowName)
_JOB = Parameter("job", "path", JobName)
_Asset: TypeAlias = Annotated[
    Literal["start.js", "swagger-ui-bundle.js", "swagger-ui.css"],
    about("Name of the file.", "start.js"),
]
_LIMIT = Parameter(
    "limit",
    "query",
    Annotated[int, whole("Maximum number of entries; default 1000.", 20, "entries", 1, LIMIT_MAX)],
)
_OF_RUNS = (
    Parameter(
        "state",
        "query",
        Annotated[
            Literal["running", "interrupted", "completed", "all"],
            about("Only runs of this state; default completed and interrupted.", "all"),
        ],
    ),
    _LIMIT,
    Parameter(
        "before", "query", Annotated[int, whole("Only runs with a smaller id.", 77, "none", 1)]
    ),
    Parameter(
        "since",
        "query",
        Annotated[str, moment("Only runs received at this time or later.", "2026-02-06T00:00:00Z")],
    ),
    Parameter(
        "until",
        "query",
        Annotated[str, moment("Only runs received before this time.", "2026-02-07T00:00:00+01:00")],
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
                "Start of the page, from the Link header of the previous page.",
                "bXktb3JnAG15LW9yZy9teS1yZXBv",
                maxLength=1024,
                pattern=AFTER,
            ),
        ],
    ),
)

# -- statuses ---------------------------------------------------------------------------------

# of any request that is not valid HTTP, or that the server refuses
_ANY: Mapping[int, str] = {
    405: "The path does not have this method; Allow lists those it has.",
    **dict.fromkeys((400, 408, 413, 414, 417, 429, 431, 500, 503), ""),
}
_CALL: Mapping[int, str] = {**_ANY, 504: ""}
_READ: Mapping[int, str] = {
    **_CALL,
    400: "A name or a parameter is bad, unknown or given twice; `errors` lists all of them.",
    401: "The bearer is missing, or is not the read token.",
}
_LIST: Mapping[int, str] = {
    **_READ,
    404: "A part of the path is empty, a slash in a name arrived decoded, or the names are stored "
    "in another case.",
}
_BODY: Mapping[int, str] = {
    **_CALL,
    400: "Not a JSON object in UTF-8, or fields are missing or bad; `errors` lists all of them.",
    408: "The body did not arrive in time.",
    413: "The body is larger than the limit of the gateway or the receiver.",
    415: "The Content-Type is not JSON in UTF-8, or the body is compressed.",
}
_UNCHANGED = Answer("Not modified since the ETag in If-None-Match.", media=None, headers=("ETag",))

# -- routes -----------------------------------------------------------------------------------


def _listing(path: str, name: str, kind: Any, summary: str, description: str) -> Operation:
    """Make an operation that answers an array, with a Link to the next page and an ETag."""
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
    """Make one entry for each form of a repository: one part of the path, or two."""
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
        "A run is stored once for each `push_id`: repeating a push is safe. Without `push_id` each "
        "POST stores a new completed run. Unknown fields are ignored; `null` means that a field is "
        "absent; integers may be written with a point or an exponent, but not with a fraction.",
        {
            201: Answer("The run is stored.", schemas.Pushed),
            200: Answer("Nothing changed: `duplicate` is true.", schemas.Pushed),
        },
        {
            **_BODY,
            401: "The bearer is missing, malformed or expired.",
            403: "The push token is for another scope.",
            409: "A push with this `push_id` and revision is already stored with different "
            "content.",
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
        "The token may only push runs of one scope. It is computed, not stored: the same scope "
        "gives the same token.",
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
            "Each part of the path is percent-decoded once; a slash in a name is `%2F`. The array "
            "is streamed; it is complete only if it ends with `]`.",
        ),
        *(_ORGANIZATION, _REPOSITORY, _WORKFLOW, _JOB, *_OF_RUNS, _IF_NONE_MATCH),
    ),
    _listing(
        "/api/v1/repos",
        "listRepositories",
        schemas.Repository,
        "The repositories that have runs, by name",
        "Runs of all states are counted.",
    )._replace(parameters=(*_OF_NAMES, _IF_NONE_MATCH)),
    *_both_forms(
        _listing(
            "/api/v1/repos/{org}/{repo}/jobs",
            "listJobs",
            schemas.Job,
            "The jobs of a repository that have runs, by name",
            "Runs of all states are counted. Empty if the repository is unknown.",
        ),
        *(_ORGANIZATION, _REPOSITORY, *_OF_NAMES, _IF_NONE_MATCH),
    ),
    Operation(
        "/health",
        "GET",
        "health",
        "documentation",
        "Whether the gateway serves",
        "The receiver is not checked.",
        {200: Answer("The gateway serves.", schemas.Health)},
        {status: text for status, text in _ANY.items() if status != 429},  # it has no rate limit
    ),
    _page("/openapi.json", "openapi", "This document", "application/json"),
    _page("/docs", "docs", "This document as a page", "text/html"),
    _page("/docs/{asset}", "docsAsset", "The files of that page", "*/*")._replace(
        parameters=(Parameter("asset", "path", _Asset), _IF_NONE_MATCH),
        problems={**_ANY, 404: "The file does not exist."},
    ),
)
"""All routes; a test compares them with those of the running app."""


def describe() -> Json:
    """Return the OpenAPI document of this gateway, with its version."""
    return document(OPERATIONS, version("runmeter-gateway"))
