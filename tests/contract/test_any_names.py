"""What is pushed under a name is found under it, however odd the name and the way to write it."""

from typing import Any
from urllib.parse import quote

from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from rig.stack import Scope, Stack, a_record

NAME_BYTES_MAX = 100
CONTROL = [chr(code) for code in (*range(0x20), *range(0x7F, 0xA0))]
# pieces that a path could lose or read as something else
RESERVED = [*"%.~+?#&=;:@\\\"'<>|*[] ", "..", "...", "%%"]
ENCODED = ["%2F", "%252F", "%2f", "%zz", "%00"]
WORDS = ["jobs", "repo", "\u00e9", "e\u0301", "\u540d", "\U0001f6e0"]
UNSEEN = [*"\u200b\u202e\u2028\u00a0\ufeff\ufffe"]
PIECES = st.sampled_from([*RESERVED, *ENCODED, *WORDS, *UNSEEN])
TEXTS = st.text(
    st.characters(codec="utf-8", exclude_characters=["/", *CONTROL]), min_size=1, max_size=10
)
PARTS = st.one_of(TEXTS, st.lists(PIECES, min_size=1, max_size=4).map("".join)).filter(
    lambda part: part not in (".", "..") and len(part.encode()) <= NAME_BYTES_MAX // 3
)
# parts that may hold slashes; those of workflows and jobs may be empty between them
PATHS = st.lists(PARTS, min_size=1, max_size=3).map("/".join)
LOOSE_PATHS = st.lists(st.one_of(PARTS, st.just("")), min_size=1, max_size=3).map("/".join)


def every(text: str) -> str:
    """Percent-encode every byte, also those that need it not."""
    return "".join(f"%{byte:02x}" for byte in text.encode())


def plain(text: str) -> str:
    """Percent-encode what needs it; slashes too."""
    return quote(text, safe="")


@settings(
    settings.get_profile("losses"),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    organization=PATHS,
    repository=PATHS,
    workflow=LOOSE_PATHS.filter(bool),
    job=LOOSE_PATHS.filter(bool),
    is_full=st.booleans(),
    encode=st.sampled_from([plain, every]),
)
def test_found_under_its_name(
    stack: Stack,
    organization: str,
    repository: str,
    workflow: str,
    job: str,
    is_full: bool,
    encode: Any,
) -> None:
    """A run comes back with the names it was pushed under, by every form of the path."""
    full = f"{organization}/{repository}"
    if repository.startswith(f"{organization}/"):
        full = repository
    scope = Scope(organization, full if is_full else repository, workflow, job)
    answer = stack.post(a_record(scope), stack.token(scope))
    assert answer.status_code == 201, answer.text
    number = answer.json()["id"]
    event("short" if not is_full else "full")
    rest = f"{encode(workflow)}/{encode(job)}"
    forms = [f"{encode(organization)}/{encode(name)}/{rest}" for name in (scope.repository, full)]
    owner, _, name = full.rpartition("/")
    forms.append(f"{encode(organization)}/{encode(owner)}/{encode(name)}/{rest}")
    for form in forms:
        found = stack.rest.get(
            f"/api/v1/metrics/repo/{form}", params={"limit": 1}, headers=stack.reading
        )
        assert found.status_code == 200, (form, found.text)
        (run,) = found.json()
        assert run["id"] == number
        assert [run[field] for field in Scope._fields] == [organization, full, workflow, job]
    listing = f"/api/v1/repos/{encode(organization)}/{encode(full)}/jobs"
    jobs = stack.rest.get(listing, headers=stack.reading).json()
    assert [workflow, job] in [[one["workflow"], one["job"]] for one in jobs]
