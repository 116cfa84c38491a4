"""Makes the OpenAPI 3.1 document of a table of operations and their types.

The schemas are from msgspec, titles and details of problems from `web.problems.KINDS`.

Source: OpenAPI 3.1.1; JSON Schema 2020-12.
"""

import json
from collections.abc import Iterable, Mapping
from importlib.resources import files
from inspect import cleandoc
from typing import Any, NamedTuple

import msgspec

from runmeter.gateway.errors import FieldError
from runmeter.gateway.schemas.api import CONTRACT
from runmeter.gateway.schemas.describe import BOUNDS
from runmeter.gateway.schemas.problem import Problem
from runmeter.gateway.web.problems import CONTENT_TYPE, KINDS, Outcome, problem_of

Json = dict[str, Any]

_JSON = "application/json"
_REFS = "#/components/schemas/"
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


class Head(NamedTuple):
    """Everything in the document that is not an operation."""

    info: Json
    tags: Mapping[str, str]
    tokens: Mapping[str, str]
    """Security schemes by name; all of them are bearers."""
    headers: Mapping[str, Json]
    everywhere: tuple[str, ...]
    """Names in ``headers`` that every answer has."""
    problem_headers: Mapping[int, tuple[str, ...]]
    parameters: tuple[Parameter, ...]
    """Parameters of every operation."""


def document(head: Head, operations: Iterable[Operation]) -> Json:
    """Return the document as values for JSON."""
    operations = tuple(operations)
    types = [a.type for o in operations for a in o.answers.values() if a.type is not None]
    types += [Problem, *(o.body for o in operations if o.body is not None)]
    refs, found = msgspec.json.schema_components(types, ref_template=_REFS + "{name}")
    schemas = {name: _tidy(schema) for name, schema in found.items()}
    for schema in schemas.values():
        schema["description"] = cleandoc(schema["description"])
    schemas = dict(sorted((schemas | _of_contract(schemas)).items()))
    for schema in schemas.values():
        schema["examples"] = [_example_of(schema, schemas)]
    writer = _Writer(head, schemas, dict(zip(map(repr, types), refs, strict=True)))
    paths: Json = {}
    for operation in operations:
        for method in operation.methods:
            entry = writer.operation(operation, with_bodies=method != "HEAD")
            paths.setdefault(operation.path, {})[method.lower()] = entry
    statuses = sorted({status for o in operations for status in o.problems})
    return {
        "openapi": "3.1.1",
        "info": head.info,
        "servers": [{"url": ".", "description": "Where this document is."}],
        "tags": [{"name": name, "description": text} for name, text in head.tags.items()],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": {f"Problem{status}": writer.problem(status) for status in statuses},
            "headers": dict(head.headers),
            "securitySchemes": {
                name: {"type": "http", "scheme": "bearer", "description": text}
                for name, text in head.tokens.items()
            },
        },
    }


class _Writer(NamedTuple):
    """Makes the parts that refer to components."""

    head: Head
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
                _parameter(parameter)
                for parameter in (*operation.parameters, *self.head.parameters)
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
        every = (*names, *self.head.everywhere)
        return {name: {"$ref": f"#/components/headers/{name}"} for name in every}

    def problem(self, status: int, when: str = "", *, with_bodies: bool = True) -> Json:
        """Make the response of a status, with its title and an example."""
        bad = (_BAD_FIELD,) if status == 400 else ()
        outcome = Outcome(status, errors=bad)
        example = msgspec.to_builtins(problem_of(outcome, _REQUEST_ID))
        entry = {"schema": self.refs[repr(Problem)], "example": example}
        return {
            "description": when or f"{KINDS[status].title}: {KINDS[status].detail}",
            "headers": self.headers(self.head.problem_headers.get(status, ())),
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
