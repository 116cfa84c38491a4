"""Makes the OpenAPI 3.1 document of a table of operations and their types.

The schemas are from msgspec, titles and details of problems from `web.problems.KINDS`.

Source: OpenAPI 3.1.1; JSON Schema 2020-12.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from inspect import cleandoc
from typing import Annotated, Any, NamedTuple

import msgspec

from runmeter.gateway.errors import FieldError
from runmeter.gateway.schemas.api import CONTRACT
from runmeter.gateway.schemas.describe import BOUNDS, about
from runmeter.gateway.schemas.problem import Problem
from runmeter.gateway.web.problems import CONTENT_TYPE, KINDS, Outcome, problem_of

Json = dict[str, Any]

_JSON = "application/json"
_REFS = "#/components/schemas/"
READ = "readToken"
PUSH = "pushToken"
_BAD_FIELD = FieldError("payload.sample_count", "is -1; must be at least 0")
_REQUEST_ID = "6f1c1b0e-5c0b-4a55-8f3e-0d6b8a3a2a11"


class Parameter(NamedTuple):
    """A part of the path, a parameter of the query or a header, described by its type."""

    name: str
    place: str
    type: Any


class Answer(NamedTuple):
    """A successful answer: its meaning, the type of its JSON or its media type, its headers."""

    description: str
    type: Any = None
    media: str | None = _JSON
    headers: tuple[str, ...] = ()


class Operation(NamedTuple):
    """One route. GET includes HEAD, which has the same headers."""

    path: str
    method: str
    name: str
    tag: str
    summary: str
    description: str
    answers: Mapping[int, Answer]
    problems: Mapping[int, str]
    """By status, when it happens; empty: the text of `KINDS`."""
    parameters: tuple[Parameter, ...] = ()
    token: str | None = None
    body: type[msgspec.Struct] | None = None

    @property
    def methods(self) -> tuple[str, ...]:
        """Methods of the route."""
        return ("GET", "HEAD") if self.method == "GET" else (self.method,)


_REQUEST_ID_HEADER = Parameter(
    "X-Request-ID",
    "header",
    Annotated[
        str,
        about("1 to 64 characters of `A-Z a-z 0-9 . _ -`; another value is replaced.", "build-7"),
    ],
)


def _header(text: str, example: str, *, required: bool = True) -> Json:
    schema = {"type": "string"}
    return {"description": text, "required": required, "schema": schema, "example": example}


_INFO = {
    "title": "Runmeter",
    "summary": "CPU and memory use of CI jobs, measured and stored.",
    "description": "Sizes are bytes, times are UTC. What could not be measured is absent. "
    "Ignore unknown fields: `/api/v1` may get new ones.",
}
_TAGS = {
    "pushes": "Storing runs.",
    "tokens": "Tokens for pushes.",
    "queries": "Stored runs.",
    "documentation": "The API and its description.",
}
_TOKENS = {
    READ: "The read token of the receiver: reads runs and mints push tokens.",
    PUSH: "A token from `POST /api/v1/token`: pushes runs of one scope.",
}
_HEADERS = {
    "X-Request-ID": _header("The id that was sent, or a new one; also in the log.", "build-7"),
    "Cache-Control": _header("How long the answer may be cached.", "no-store"),
    "ETag": _header("Changes with the answer.", '"etag-1"'),
    "Content-Security-Policy": _header(
        "What the browser may load and run for the page.", "default-src 'none'"
    ),
    "Link": _header(
        "Address of the next page, if there is one, relative to that of the request.",
        '<?after=bXk>; rel="next"',
        required=False,
    ),
    "WWW-Authenticate": _header("The kind of token to send.", "Bearer"),
    "Allow": _header("Methods of this path.", "GET, HEAD"),
    "Accept": _header("The media type to send.", "application/json"),
    "Retry-After": _header("Seconds until the next attempt.", "1"),
}
_EVERYWHERE = ("X-Request-ID", "Cache-Control")
"""Headers of every answer."""
_PROBLEM_HEADERS = {
    401: ("WWW-Authenticate",),
    405: ("Allow",),
    415: ("Accept",),
    **dict.fromkeys((429, 503), ("Retry-After",)),
}


def document(operations: Sequence[Operation], version: str) -> Json:
    """Return the document as values for JSON."""
    types = [a.type for o in operations for a in o.answers.values() if a.type is not None]
    types += [Problem, *(o.body for o in operations if o.body is not None)]
    refs, found = msgspec.json.schema_components(types, ref_template=_REFS + "{name}")
    schemas = {name: _tidy(schema) for name, schema in found.items()}
    for schema in schemas.values():
        schema["description"] = cleandoc(schema["description"])
    schemas = dict(sorted((schemas | _of_contract(schemas)).items()))
    for schema in schemas.values():
        schema["examples"] = [_example_of(schema, schemas)]
    writer = _Writer(schemas, dict(zip(map(repr, types), refs, strict=True)))
    paths: Json = {}
    for operation in operations:
        for method in operation.methods:
            entry = writer.operation(operation, with_bodies=method != "HEAD")
            paths.setdefault(operation.path, {})[method.lower()] = entry
    statuses = sorted({status for o in operations for status in o.problems})
    return {
        "openapi": "3.1.1",
        "info": _INFO | {"version": version},
        "servers": [{"url": ".", "description": "Where this document is."}],
        "tags": [{"name": name, "description": text} for name, text in _TAGS.items()],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": {f"Problem{status}": writer.problem(status) for status in statuses},
            "headers": _HEADERS,
            "securitySchemes": {
                name: {"type": "http", "scheme": "bearer", "description": text}
                for name, text in _TOKENS.items()
            },
        },
    }


class _Writer(NamedTuple):
    """Makes the parts that refer to components."""

    schemas: Json
    refs: Mapping[str, Json]

    def operation(self, operation: Operation, *, with_bodies: bool) -> Json:
        """Make an Operation Object."""
        answers = {}
        for status, answer in operation.answers.items():
            content = self.content(answer) if with_bodies and answer.media is not None else {}
            answers[str(status)] = {
                "description": answer.description,
                "headers": self.headers(answer.headers),
            } | content
        for status, when in operation.problems.items():
            answers[str(status)] = self.reference(status, when, with_bodies=with_bodies)
        body = {} if operation.body is None else {"requestBody": self.body(operation.body)}
        return {
            "operationId": operation.name if with_bodies else f"{operation.name}Head",
            "tags": [operation.tag],
            "summary": operation.summary if with_bodies else f"{operation.summary}: headers only",
            "description": operation.description,
            "security": [] if operation.token is None else [{operation.token: []}],
            "parameters": [
                _parameter(parameter) for parameter in (*operation.parameters, _REQUEST_ID_HEADER)
            ],
            **body,
            "responses": dict(sorted(answers.items())),
        }

    def body(self, kind: type[msgspec.Struct]) -> Json:
        """Make a Request Body Object."""
        return {"required": True} | self.content(Answer("", kind))

    def content(self, answer: Answer) -> Json:
        """Make the content of an answer."""
        entry: Json = {"schema": {"type": "object" if answer.media == _JSON else "string"}}
        if answer.type is not None:
            schema = _tidy(self.refs[repr(answer.type)])
            entry = {"schema": schema, "example": _example_of(schema, self.schemas)}
        return {"content": {answer.media: entry}}

    def headers(self, names: Iterable[str]) -> Json:
        """Make the headers of an answer."""
        every = (*names, *_EVERYWHERE)
        return {name: {"$ref": f"#/components/headers/{name}"} for name in every}

    def problem(self, status: int, when: str = "", *, with_bodies: bool = True) -> Json:
        """Make the response of a status, with its title and an example."""
        bad = (_BAD_FIELD,) if status == 400 else ()
        outcome = Outcome(status, errors=bad)
        example = msgspec.to_builtins(problem_of(outcome, _REQUEST_ID))
        entry = {"schema": self.refs[repr(Problem)], "example": example}
        return {
            "description": when or f"{KINDS[status].title}: {KINDS[status].detail}",
            "headers": self.headers(_PROBLEM_HEADERS.get(status, ())),
        } | ({"content": {CONTENT_TYPE: entry}} if with_bodies else {})

    def reference(self, status: int, when: str, *, with_bodies: bool) -> Json:
        """Make the entry of a status in an operation."""
        if not with_bodies:
            return self.problem(status, when, with_bodies=False)
        said = {"description": when} if when else {}
        return {"$ref": f"#/components/responses/Problem{status}"} | said


def _of_contract(schemas: Json) -> Json:
    """Return the schemas of the contract for the types that represent it here."""
    found: Json = json.loads((files("runmeter.v1") / "schemas.json").read_text())
    standing = {
        name: {**found.pop(message), "title": name, "description": schemas[name]["description"]}
        for name, message in CONTRACT.items()
        if name in schemas
    }
    del found["Scope"]  # the other types have its fields
    return found | standing


def _parameter(parameter: Parameter) -> Json:
    schema = _tidy(msgspec.json.schema(parameter.type))
    return {
        "name": parameter.name,
        "in": parameter.place,
        "required": parameter.place == "path",
        "description": schema.pop("description"),
        "example": schema.pop("examples")[0],
        "schema": schema,
    }


def _tidy(node: Any) -> Any:
    """Move bounds to their place in JSON Schema; merge ``anyOf`` with null into one schema."""
    if isinstance(node, list):
        return [_tidy(item) for item in node]
    if not isinstance(node, dict):
        return node
    tidied = {name: _tidy(value) for name, value in node.items() if name != BOUNDS}
    if tidied.get("default", ...) is None:
        del tidied["default"]
    match tidied.get("anyOf"):
        case [{"type": str(kind)} as inner, {"type": "null"}]:
            del tidied["anyOf"]
            tidied = inner | tidied | {"type": [kind, "null"]}
        case [{"enum": list(values)} as inner, {"type": "null"}]:
            del tidied["anyOf"]
            tidied = inner | tidied | {"enum": [*values, None]}
    return tidied | node.get(BOUNDS, {})


def _example_of(schema: Json, schemas: Json) -> Any:
    """Return the example of a schema, or make one of the examples of its parts."""
    match schema:
        case {"$ref": str(ref)}:
            return _example_of(schemas[ref.removeprefix(_REFS)], schemas)
        case {"examples": [example, *_]}:
            return example
        case {"anyOf": [first, *_]}:
            return _example_of(first, schemas)
        case {"items": dict(item)}:
            return [_example_of(item, schemas)]
        case {"properties": dict(fields)}:
            return {name: _example_of(field, schemas) for name, field in fields.items()}
    raise LookupError(f"no example in {schema}")
