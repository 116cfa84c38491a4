"""Open files: how many may stay open, so that enough descriptors are left to keep the run."""

import os

# the run's lock, its file, the token for the pusher, a pipe, files of /proc that are read briefly
_SPARE = 16
_UNLIMITED = 1 << 20


def keep_below() -> int:
    """Return the limit of descriptors kept open: those below it. 0 or less: none.

    A new descriptor gets the lowest free number, which shows how many are open.
    Source: open(2); the limit is RLIMIT_NOFILE, ``ulimit -n``.
    """
    limit = os.sysconf("SC_OPEN_MAX")
    return (limit if limit >= 0 else _UNLIMITED) - _SPARE


def detach_streams(*descriptors: int) -> None:
    """Redirect standard streams to /dev/null, so that no reader waits for this process."""
    try:
        nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        for descriptor in descriptors:
            os.dup2(nothing, descriptor)
        os.close(nothing)
    except OSError:
        pass
