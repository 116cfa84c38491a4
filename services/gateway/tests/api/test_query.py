"""Paths and query strings."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runmeter.gateway.api.query import (
    PAGE_PARAMETERS,
    RUN_PARAMETERS,
    decode_component,
    next_page,
    other_readings,
    parse,
    path_of,
)
from runmeter.gateway.errors import FieldError, InvalidRequest
from runmeter.gateway.model import PageQuery, RunQuery
from runmeter.gateway.schemas.api import Scope
from runmeter.v1.json_values import parse_time

SCOPE = Scope(organization="o", repository="o/r", workflow="w", job="j")
NAMES = st.text(min_size=1).filter(lambda text: len(text.encode()) <= 255)


def read(query_string: str) -> RunQuery:
    return RunQuery(SCOPE, **parse(query_string, RUN_PARAMETERS).values)


def scope_of(*parts: str) -> Scope:
    """Return the scope of the parts of a path."""
    return Scope(**parse("", RUN_PARAMETERS, Scope.__struct_fields__, parts).names)


def refused(query_string: str) -> dict[str, str]:
    with pytest.raises(InvalidRequest) as caught:
        read(query_string)
    return dict(caught.value.errors)


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        ("ci.yml", "ci.yml"),
        ("a%2Fb", "a/b"),
        ("a%252Fb", "a%2Fb"),
        ("%25", "%"),
        ("a+b", "a+b"),
        ("%C3%B6", "ö"),
        ("%00", "\0"),
        ("..", ".."),
    ],
)
def test_decoded_once(raw: str, name: str) -> None:
    """A part is percent-decoded exactly once; a plus in a path stays a plus."""
    assert decode_component(raw) == name


@pytest.mark.parametrize("raw", ["%", "%2", "%zz", "a%", "%ff", "%C3", "%ED%A0%80", "%c0%af"])
def test_not_decodable(raw: str) -> None:
    """Broken percent-encoding and bytes that are not UTF-8 are refused by name of the part."""
    with pytest.raises(InvalidRequest) as caught:
        scope_of("o", raw, "w", raw)
    assert [field for field, _ in caught.value.errors] == ["repository", "job"]


@given(NAMES, NAMES, NAMES, NAMES)
def test_any_names(organization: str, repository: str, workflow: str, job: str) -> None:
    """Names written as a path are read back unchanged."""
    scope = Scope(organization=organization, repository=repository, workflow=workflow, job=job)
    parts = path_of(organization, repository, workflow, job).split("/")
    assert len(parts) == 4
    assert scope_of(*parts) == scope


def test_defaults() -> None:
    """Without parameters a query has none."""
    assert read("") == RunQuery(SCOPE)


def test_all_parameters() -> None:
    """Every parameter arrives."""
    query = read(
        "state=running&limit=5&before=9223372036854775807&since=2026-02-06T14:30:02%2B01:00"
        "&until=2026-02-06T14:30:02Z&run_id=run%2D1+x"
    )
    assert query == RunQuery(
        SCOPE,
        5,
        2**63 - 1,
        parse_time("2026-02-06T13:30:02Z"),
        parse_time("2026-02-06T14:30:02Z"),
        "run-1 x",
        ("running",),
    )


def test_plus_of_an_offset() -> None:
    """A plus of an offset that was not percent-encoded is read as a plus."""
    found = read("since=2026-02-06T14:30:02+01:00").since_unix_ms
    assert found == parse_time("2026-02-06T13:30:02Z")


@pytest.mark.parametrize(
    ("state", "states"),
    [
        ("running", ("running",)),
        ("interrupted", ("interrupted",)),
        ("completed", ("completed",)),
        ("all", ("running", "interrupted", "completed")),
    ],
)
def test_states(state: str, states: tuple[str, ...]) -> None:
    """``state`` is one of the three states, or all of them."""
    assert read(f"state={state}").states == states


@pytest.mark.parametrize(
    ("query_string", "fields"),
    [
        ("limits=1", ["limits"]),
        ("limits=1&Before=2", ["limits", "Before"]),
        ("limit=1&limit=1", ["limit"]),
        ("limit=", ["limit"]),
        ("limit", ["limit"]),
        ("limit=1.0", ["limit"]),
        ("limit=2147483648", ["limit"]),
        ("limit=%D9%A1", ["limit"]),
        ("before=9223372036854775808", ["before"]),
        ("before=x&since=yesterday&state=RUNNING", ["before", "since", "state"]),
        ("until=2026-02-06T14:30:02", ["until"]),
        ("state=", ["state"]),
        ("run_id=%ff", ["run_id"]),
        ("%zz=1", ["%zz"]),
    ],
)
def test_refused(query_string: str, fields: list[str]) -> None:
    """Unknown, repeated and malformed parameters are all refused by name."""
    assert list(refused(query_string)) == fields


def test_all_bad_parts() -> None:
    """One error lists what cannot be read in path and query, and what the receiver would refuse."""
    parts = ("o", "%zz", "%2E%2E", "j" * 256)
    query_string = "limits=1&limit=0&since=x&before=-1&run_id=%09&until=2026-02-06T14:30:02Z"
    with pytest.raises(InvalidRequest) as caught:
        parse(query_string, RUN_PARAMETERS, Scope.__struct_fields__, parts)
    assert dict(caught.value.errors) == {
        "repository": "has a % that is not followed by two hex digits",
        "limits": "is not a parameter of this path; its parameters are state, limit, before, "
        "since, until, run_id",
        "since": "is not an RFC 3339 time with offset, such as 2026-02-06T14:30:02.185Z",
        "workflow": "must be without control characters and without a part `.` or `..` between "
        "slashes",
        "job": "has 256 bytes; at most 255 are allowed",
        "limit": "is 0; must be 1 to 10000",
        "before": "is -1; must be at least 1",
        "run_id": "must be without control characters",
    }
    with pytest.raises(InvalidRequest) as caught:
        parse("&".join(f"x{number}=" for number in range(1000)), PAGE_PARAMETERS)
    assert len(caught.value.errors) == 100


def test_ranges_are_the_receivers() -> None:
    """A limit of 0 is well-formed: only the receiver refuses it, after the token."""
    assert (read("limit=0").limit, read("before=-1").before_id) == (0, -1)


@given(st.dictionaries(st.sampled_from(["state", "run_id", "limit"]), st.text(max_size=20)))
def test_next_page(parameters: dict[str, str]) -> None:
    """The next page has the same query from the given id on, in plain ASCII, and no path."""
    target = next_page({**parameters, "before": "99"}, before="7")
    assert target.startswith("?")
    assert target.isascii()
    assert not set(target) & set('<>" \r\n')
    everything = {**RUN_PARAMETERS, **dict.fromkeys(parameters, ("any", str))}
    assert parse(target[1:], everything).parameters == {**parameters, "before": "7"}


def test_other_readings() -> None:
    """If a path has one part more, a slash belongs to a name; the second name may have one."""
    assert list(other_readings(("o", "r", "w", "j"), 4)) == []
    assert list(other_readings(("o", "r", "w", "j", "k"), 4)) == [
        ("o/r", "w", "j", "k"),
        ("o", "r", "w/j", "k"),
        ("o", "r", "w", "j/k"),
    ]
    assert list(other_readings(("a", "b", "c"), 2)) == [("a/b", "c")]


def test_each_path_has_its_own_parameters() -> None:
    """A parameter of one path is refused by another, which lists its own."""
    found = parse("limit=5&after=a%2Bb", PAGE_PARAMETERS)
    assert PageQuery(**found.values) == PageQuery(5, "a+b")
    assert refused("after=x") == {
        "after": "is not a parameter of this path; its parameters are state, limit, before, "
        "since, until, run_id"
    }
    with pytest.raises(InvalidRequest) as caught:
        parse("before=1&run_id=x", PAGE_PARAMETERS)
    reason = "is not a parameter of this path; its parameters are limit, after"
    assert dict(caught.value.errors) == {"before": reason, "run_id": reason}


@given(st.text(st.characters(max_codepoint=126), max_size=60))
def test_any_query_string(query_string: str) -> None:
    """Any query string is a query or an InvalidRequest that names a field."""
    assert read_or_refuse(query_string)


def read_or_refuse(query_string: str) -> RunQuery | tuple[FieldError, ...]:
    try:
        return read(query_string)
    except InvalidRequest as error:
        return error.errors
