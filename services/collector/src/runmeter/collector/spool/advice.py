"""What to do about a run that was not delivered: ``hint`` of its line in the log.

``folder``: the spool it lies in.
"""

from collections.abc import Mapping
from typing import Any

_SCOPE = ("organization", "repository", "workflow", "job")


def kept(folder: str) -> str:
    """Say how a run is delivered that waits."""
    return f"the next collector of this job delivers it, or: {_push(folder)}"


def other_token(run: Mapping[str, Any], folder: str) -> str:
    """Say which push token takes a run that waits."""
    scope = ", ".join(f"{name} {run.get(name)!r}" for name in _SCOPE)
    return f"it needs a push token for {scope}; then: {_push(folder)}"


def other_endpoint(folder: str) -> str:
    """Say what to do about a run that waits as its endpoint takes no pushes."""
    return f"see that --push-endpoint is the receiver's or the gateway's; {kept(folder)}"


def rejected(folder: str) -> str:
    """Say how a run is tried again that the receiver will not take as it is."""
    return f"once the reason is gone: {_push(folder)} --rejected"


def _push(folder: str) -> str:
    return f"collector push --spool-dir={folder}"
