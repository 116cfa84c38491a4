"""Being the parent of orphans: what the wrapped command leaves behind stays in sight.

A process whose parent ends becomes a child of the nearest ancestor that is a *subreaper*, else
of pid 1. The collector makes itself one around a command: orphans stay below it, and their CPU
time reaches it when they end, however short they live.
"""

_PR_SET_CHILD_SUBREAPER = 36


def become_subreaper() -> bool:
    """Ask the kernel for it; tell whether it was granted.

    Source: prctl(2). ``ctypes`` is imported here: only a wrapped command needs it.
    """
    try:
        import ctypes

        prctl = ctypes.CDLL(None, use_errno=True).prctl
    except (ImportError, OSError, AttributeError):  # ImportError, OSError: too many open files
        return False
    return bool(prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)
