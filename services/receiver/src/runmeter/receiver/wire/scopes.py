"""Names of scopes: both documented forms of a repository become one.

``my-repo`` and ``my-org/my-repo`` are the same repository of ``my-org``; canonical is the full
path. Names are compared bytewise.
"""

from runmeter.receiver.model import Scope
from runmeter.v1 import run_pb2
from runmeter.v1.checks import Checks, Path
from runmeter.v1.rules import check_scope


def canonical_scope(checks: Checks, path: Path, message: run_pb2.Scope) -> Scope:
    """Return the scope with ``organization/`` in front of the repository unless it is there.

    Violations go to ``checks``, under fields of ``path``; the limits are those of the canonical
    form, so that both forms are accepted or refused together.
    """
    names = run_pb2.Scope()
    names.CopyFrom(message)
    organization, repository = names.organization, names.repository
    if organization and repository and not repository.startswith(f"{organization}/"):
        names.repository = f"{organization}/{repository}"
    check_scope(checks, path, names)
    return Scope(organization, names.repository, names.workflow, names.job)


def canonical_repository(checks: Checks, organization: str, repository: str) -> tuple[str, str]:
    """Return organization and full repository; as ``canonical_scope`` otherwise."""
    # the other two names are not asked for
    names = run_pb2.Scope(organization=organization, repository=repository, workflow="-", job="-")
    scope = canonical_scope(checks, "", names)
    return scope.organization, scope.repository
