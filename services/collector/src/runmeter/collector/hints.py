"""What to do about a run that was not delivered: ``hint`` of its line in the log."""

import os
from collections.abc import Mapping
from typing import Any

_SCOPE = ("organization", "repository", "workflow", "job")


def kept(path: str) -> str:
    """Say how a run is delivered that lies in the spool, under this path."""
    return f"the next collector of this job delivers it, or: {_push(os.path.dirname(path))}"


def other_token(run: Mapping[str, Any], path: str) -> str:
    """Say which push token takes a run that waits in the spool."""
    scope = ", ".join(f"{name} {run.get(name)!r}" for name in _SCOPE)
    return f"mint a push token for {scope}; then: {_push(os.path.dirname(path))}"


def other_endpoint(path: str) -> str:
    """Say what to do about a run whose endpoint takes no pushes."""
    return f"see that --push-endpoint is the receiver's or the gateway's; {kept(path)}"


def rejected(path: str) -> str:
    """Say how a run is tried again that lies below the folder of rejected ones."""
    folder = os.path.dirname(os.path.dirname(path))
    return f"once the reason is gone: {_push(folder)} --rejected"


def _push(folder: str) -> str:
    return f"collector push --spool-dir={folder}"
