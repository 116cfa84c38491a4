"""Names of scopes: both documented forms of a repository become one.

``my-repo`` and ``my-org/my-repo`` are the same repository of ``my-org``; canonical is the full
path. Names are compared bytewise.
"""

from runmeter.receiver.model import Scope
from runmeter.receiver.wire.checks import Checks

NAME_MAX_BYTES = 255


def canonical_scope(
    checks: Checks, path: str, organization: str, repository: str, workflow: str, job: str
) -> Scope:
    """Return the scope with ``organization/`` in front of the repository unless it is there.

    Violations go to ``checks``, under fields of ``path``; the limits are those of the canonical
    form, so that both forms are accepted or refused together.
    """
    scope = Scope(*canonical_repository(checks, path, organization, repository), workflow, job)
    _name(checks, path, "workflow", workflow)
    _name(checks, path, "job", job)
    return scope


def canonical_repository(
    checks: Checks, path: str, organization: str, repository: str
) -> tuple[str, str]:
    """Return organization and full repository of a scope; as ``canonical_scope`` otherwise."""
    full = repository
    if organization and repository and not repository.startswith(f"{organization}/"):
        full = f"{organization}/{repository}"
    _name(checks, path, "organization", organization)
    _name(checks, path, "repository", full)
    return organization, full


def _name(checks: Checks, path: str, field: str, name: str) -> None:
    before = checks.found_count
    checks.text(path, field, name, 1, NAME_MAX_BYTES)
    if checks.found_count == before:
        where = f"{path}.{field}" if path else field
        _parts(checks, where, name, field in ("organization", "repository"))


def _parts(checks: Checks, field: str, name: str, filled: bool) -> None:
    parts = name.split("/")
    if "." in parts or ".." in parts:
        checks.add(field, "has a part `.` or `..` between slashes")
    if filled and "" in parts:
        checks.add(field, "has an empty part between slashes")
