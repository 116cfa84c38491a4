"""runmeter.receiver.scopes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runmeter.receiver.errors import InvalidRequest
from runmeter.receiver.model import Scope
from runmeter.receiver.wire.checks import Checks
from runmeter.receiver.wire.scopes import canonical_scope
from runmeter.v1 import run_pb2


def scope(*names: str) -> Scope:
    """Return the canonical scope of four names, or raise."""
    checks = Checks()
    found = canonical_scope(checks, "scope", run_pb2.Scope(**Scope(*names)._asdict()))
    checks.close()
    return found


@pytest.mark.parametrize(
    ("organization", "repository", "full"),
    [
        ("my-org", "my-repo", "my-org/my-repo"),
        ("my-org", "my-org/my-repo", "my-org/my-repo"),
        ("my-org", "My-Org/my-repo", "my-org/My-Org/my-repo"),
        ("my-org", "my-org", "my-org/my-org"),
        ("my-org", "my-org2/x", "my-org/my-org2/x"),
        ("a", "b/c", "a/b/c"),
        ("a/b", "c", "a/b/c"),
        ("a/b", "a/b/c", "a/b/c"),
        ("ö", "名前", "ö/名前"),
    ],
)
def test_repository_becomes_the_full_path(organization: str, repository: str, full: str) -> None:
    """The organization is put in front of the repository unless it is there."""
    assert scope(organization, repository, "w", "j") == (organization, full, "w", "j")


def test_nested_organizations_stay_apart() -> None:
    """a with b/c and a/b with c share a path and are different scopes."""
    assert scope("a", "b/c", "w", "j") != scope("a/b", "c", "w", "j")


def test_workflow_and_job_may_hold_slashes() -> None:
    """Only . and .. parts are refused in them; empty parts are not."""
    assert scope("o", "r", ".github/ci.yml", "build//x/").job == "build//x/"


@pytest.mark.parametrize(
    ("names", "fields"),
    [
        (("", "", "", ""), ["organization", "repository", "workflow", "job"]),
        (("o", "", "w", "j"), ["repository"]),
        (("o/", "r", "w", "j"), ["organization", "repository"]),
        (("o", "o/", "w", "j"), ["repository"]),
        (("o", "/r", "w", "j"), ["repository"]),
        (("o", "r//s", "w", "j"), ["repository"]),
        (("..", "r", "w", "j"), ["organization", "repository"]),
        (("o", "../r", "w", "j"), ["repository"]),
        (("o", "r", ".", "a/../b"), ["workflow", "job"]),
        (("o", "r", "w\0", "j\n"), ["workflow", "job"]),
        (("o", "r", "w\x7f", "j\x85"), ["workflow", "job"]),
        (("o", "r", "w" * 256, "ä" * 128), ["workflow", "job"]),
        (("o", "r" * 254, "w", "j"), ["repository"]),
    ],
)
def test_bad_names_are_all_named(names: tuple[str, ...], fields: list[str]) -> None:
    """Every bad name is a violation of its own field."""
    with pytest.raises(InvalidRequest) as caught:
        scope(*names)
    assert [v.field for v in caught.value.violations] == [f"scope.{name}" for name in fields]


def test_longest_names() -> None:
    """255 bytes are allowed, of the full path too."""
    longest = "x" * 255
    assert scope(longest[:100], longest[:154], longest, longest).workflow == longest


@given(st.tuples(*[st.text(st.characters(codec="utf-8"), max_size=12)] * 4))
def test_canonical_is_a_fixed_point(names: tuple[str, ...]) -> None:
    """A canonical scope is its own canonical scope; what is refused once is refused again."""
    try:
        found = scope(*names)
    except InvalidRequest:
        return
    assert scope(*found) == found
