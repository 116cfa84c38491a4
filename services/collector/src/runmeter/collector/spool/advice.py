"""What to do about a run that was not pushed: ``hint`` of its log line.

``folder``: the spool that has the run.
"""

from collections.abc import Mapping
from typing import Any

_SCOPE = ("organization", "repository", "workflow", "job")


def kept(folder: str) -> str:
    """Return how a waiting run will be pushed."""
    return f"the next collector of this job pushes it, or: {_push(folder)}"


def other_token(run: Mapping[str, Any], folder: str) -> str:
    """Return which push token a waiting run needs."""
    scope = ", ".join(f"{name} {run.get(name)!r}" for name in _SCOPE)
    return f"it needs a push token for {scope}; then: {_push(folder)}"


def other_endpoint(folder: str) -> str:
    """Return what to do if the endpoint does not accept pushes."""
    return f"set --push-endpoint to the receiver or the gateway; {kept(folder)}"


def rejected(folder: str) -> str:
    """Return how a rejected run is pushed again."""
    return f"when the reason is fixed: {_push(folder)} --rejected"


def _push(folder: str) -> str:
    return f"collector push --spool-dir={folder}"
