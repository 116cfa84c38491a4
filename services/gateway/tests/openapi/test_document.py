"""The document is valid, complete, and agrees with routes, types and problems."""

import json
import re
import sys
from collections.abc import Iterator
from typing import Any

import httpx
import msgspec
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from runmeter.gateway.api.app import create_app
from runmeter.gateway.api.query import PAGE_PARAMETERS, RUN_PARAMETERS, STATES
from runmeter.gateway.openapi.routes import OPERATIONS, describe
from runmeter.gateway.receiver.client import Backend
from runmeter.gateway.schemas import api as schemas
from runmeter.gateway.schemas import problem as faults
from runmeter.gateway.web.body import BodyLimits
from runmeter.gateway.web.problems import KINDS

DOCUMENT = json.loads(json.dumps(describe()))
SCHEMAS = DOCUMENT["components"]["schemas"]
FIELDS = [(kind, name) for kind, schema in SCHEMAS.items() for name in schema["properties"]]
STRUCTS = {
    name: found
    for module in (schemas, faults)
    for name, found in vars(module).items()
    if isinstance(found, type)
    and issubclass(found, msgspec.Struct)
    and found.__module__ == module.__name__
}
OWN = sorted(STRUCTS.keys() - schemas.CONTRACT.keys() - {"Scope"})


def described() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield path, method and operation of everything described."""
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            yield path, method.upper(), operation


def test_valid() -> None:
    """It is a valid OpenAPI 3.1 document."""
    assert list(OpenAPIV31SpecValidator(DOCUMENT).iter_errors()) == []


def test_served(client: httpx.Client) -> None:
    """It is served without a token; unchanged it is answered with 304."""
    answer = client.get("/openapi.json", headers={"Authorization": ""})
    assert (answer.status_code, answer.json()) == (200, DOCUMENT)
    assert answer.headers["content-type"] == "application/json"
    again = client.get("/openapi.json", headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    head = client.head("/openapi.json")
    assert (head.status_code, head.headers["etag"]) == (200, answer.headers["etag"])


def test_routes() -> None:
    """It describes exactly the routes of the app."""
    app = create_app(Backend("127.0.0.1:1"), BodyLimits(1), name="described")
    routes = {
        ("/" + re.sub(r"<(\w+)(?::[^>]*)?>", r"{\1}", route.path), method)
        for route in app.router.routes
        for method in route.methods
    }
    assert routes == {(path, method) for path, method, _ in described()}
    names = [operation["operationId"] for _, _, operation in described()]
    assert len(names) == len(set(names))


def test_types() -> None:
    """It has every type of the API, except base types."""
    assert set(STRUCTS) - set(SCHEMAS) == {"Scope"}


def kinds_of(schema: dict[str, Any]) -> set[str]:
    """The types of JSON that a schema allows."""
    kinds = schema.get("type", [])
    return {kinds} if isinstance(kinds, str) else set(kinds)


def unbounded(schema: Any, path: str = "") -> Iterator[str]:
    """Yield the path of everything in a schema without a bound."""
    if isinstance(schema, list):
        for number, inner in enumerate(schema):
            yield from unbounded(inner, f"{path}[{number}]")
    if not isinstance(schema, dict):
        return
    kinds = kinds_of(schema)
    has_least = {"minimum", "exclusiveMinimum"} & schema.keys()
    if {"integer", "number"} & kinds and not (has_least and "maximum" in schema):
        yield path
    # a time has the bounds of its form: the service takes any number of digits of a second
    is_free = not {"enum", "maxLength"} & schema.keys() and schema.get("format") != "date-time"
    if "string" in kinds and is_free:
        yield path
    if "array" in kinds and "maxItems" not in schema:
        yield path
    if "object" in kinds and not {"properties", "maxProperties"} & schema.keys():
        yield path
    for name, inner in schema.items():
        if name not in ("example", "examples"):
            yield from unbounded(inner, f"{path}/{name}")


@pytest.mark.parametrize(("kind", "name"), FIELDS, ids=lambda text: text)
def test_fields(kind: str, name: str) -> None:
    """Every field has a description, an example, a unit, and bounds."""
    field = SCHEMAS[kind]["properties"][name]
    assert field["description"].endswith(".")
    refs = re.findall(r"#/components/schemas/(\w+)", json.dumps(field))
    assert field.get("examples") or (refs and SCHEMAS[refs[0]]["examples"])
    assert field["x-unit"]
    if kinds_of(field) & {"number"} or (refs and refs[0].endswith("Statistics")):
        assert field["x-unit"] != "none"
    assert list(unbounded(field)) == []


def test_bounds_of_what_is_sent_and_answered() -> None:
    """Parameters and JSON of every operation are bounded as fields are, and have examples; a
    header has the bounds of all headers together."""
    for path, method, operation in described():
        for parameter in operation["parameters"]:
            assert parameter["description"].endswith("."), parameter
            assert "example" in parameter
            if parameter["in"] != "header":
                assert parameter["schema"]["x-unit"]
                assert list(unbounded(parameter["schema"])) == [], (path, method)
        contents = [operation.get("requestBody", {}).get("content", {})]
        contents += [answer.get("content", {}) for answer in operation["responses"].values()]
        for content in contents:
            for media, entry in content.items():
                if media.endswith("json") and not path.startswith(("/openapi", "/docs")):
                    assert entry["example"] is not None
                    assert list(unbounded(entry["schema"])) == [], (path, method)


def test_bounds_are_those_of_the_contract() -> None:
    """Bounds of the document are those that the receiver checks."""
    run = SCHEMAS["RunBody"]["properties"]
    summary = SCHEMAS["Summary"]["properties"]
    assert run["labels"]["maxProperties"] == 32
    assert run["push_id"]["minLength"] == run["push_id"]["maxLength"] == 36
    assert summary["containers"]["maxItems"] == 4096
    assert summary["duration_seconds"]["maximum"] == sys.float_info.max
    assert SCHEMAS["Token"]["properties"]["token"]["maxLength"] == 64 + 1 + 19


@pytest.mark.parametrize("kind", OWN)
def test_examples_are_of_their_type(kind: str) -> None:
    """The example of each type is decoded as that type and encoded to the same JSON."""
    (example,) = SCHEMAS[kind]["examples"]
    value = msgspec.json.decode(json.dumps(example), type=STRUCTS[kind])
    assert json.loads(schemas.encode(value)) == example


def test_every_status_is_described() -> None:
    """Problems have the title and detail of the one table, operations list their statuses.

    499 is not described: its client is gone.
    """
    found = DOCUMENT["components"]["responses"]
    assert set(found) == {f"Problem{status}" for status in KINDS if status != 499}
    for status, kind in KINDS.items():
        if status != 499:
            (content,) = found[f"Problem{status}"]["content"].items()
            assert content[0] == "application/problem+json"
            example = content[1]["example"]
            assert (example["status"], example["title"]) == (status, kind.title)
            assert example["detail"] == kind.detail
    for path, method, operation in described():
        answers = set(operation["responses"])
        assert {"400", "405", "500", "503"} < answers
        assert "200" in answers
        if operation["security"]:
            assert {"401", "429", "504"} < answers
        if method == "POST":
            assert {"408", "413", "415"} < answers
        assert ("404" in answers) == ("{" in path or path == "/api/v1/repos")


def test_headers() -> None:
    """Answers have the headers that clients use."""
    found = DOCUMENT["components"]["responses"]
    for status, header in [(401, "WWW-Authenticate"), (405, "Allow"), (503, "Retry-After")]:
        assert header in found[f"Problem{status}"]["headers"]
    for path, method, operation in described():
        headers = operation["responses"]["200"]["headers"]
        assert "X-Request-ID" in headers
        if path.startswith("/api/") and method == "GET":
            assert {"ETag", "Link"} < headers.keys()


def test_parameters() -> None:
    """Each listing describes exactly its parameters; the states are those of the API."""
    for path, _, operation in described():
        names = {p["name"] for p in operation["parameters"] if p["in"] == "query"}
        if path.startswith("/api/v1/metrics/repo/"):
            assert names == set(RUN_PARAMETERS)
            state = next(p for p in operation["parameters"] if p["name"] == "state")
            assert set(state["schema"]["enum"]) == set(STATES)
        elif path.startswith("/api/v1/repos"):
            assert names == set(PAGE_PARAMETERS)
        else:
            assert names == set()
        inside = re.findall(r"\{(\w+)\}", path)
        assert [p["name"] for p in operation["parameters"] if p["in"] == "path"] == inside


def test_tokens() -> None:
    """Pushes need the push token, the rest of the API the read token, other routes none."""
    assert set(DOCUMENT["components"]["securitySchemes"]) == {"readToken", "pushToken"}
    for path, _, operation in described():
        wanted = "pushToken" if path == "/api/v1/metrics" else "readToken"
        expected = [{wanted: []}] if path.startswith("/api/") else []
        assert operation["security"] == expected


def test_one_entry_for_each_path() -> None:
    """The table of operations has one entry for each path."""
    assert len({operation.path for operation in OPERATIONS}) == len(OPERATIONS)
