"""Descriptors: how many may stay open so that enough are left for what keeps the run."""

import os

# the run's lock, its file, the token for the pusher, a pipe, files of /proc looked at in between
_SPARE = 16
_UNLIMITED = 1 << 20


def keep_below() -> int:
    """Return the number from which on a descriptor is not kept open, 0 or less: none is.

    A new descriptor gets the lowest free number, so its own tells how many are open.
    Source: open(2); the limit is RLIMIT_NOFILE, ``ulimit -n``.
    """
    limit = os.sysconf("SC_OPEN_MAX")
    return (limit if limit >= 0 else _UNLIMITED) - _SPARE


def detach_streams(*descriptors: int) -> None:
    """Close standard streams to what others read or write: they may wait for their end."""
    try:
        nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        for descriptor in descriptors:
            os.dup2(nothing, descriptor)
        os.close(nothing)
    except OSError:
        pass
