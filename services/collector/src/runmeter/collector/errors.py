"""What can go wrong in the collector.

CollectorError
 +-- UsageError           the command line or a variable is wrong; nothing was started
 |    +-- QuantityError   a duration or a Kubernetes quantity cannot be read
 +-- MeasureError         the machine cannot be measured
 +-- SpoolError           a run cannot be written to, or read from, the spool
      +-- WriteError      the operating system refuses to write
      +-- HeldError       another process measures or pushes it now
      +-- GoneError       it is no longer in the spool
      +-- LaterError      a later version has written it
      +-- ForeignError    it is not a run: damaged, or not written by a collector
"""

import errno
import os


class CollectorError(Exception):
    """Base of all errors of the collector; its text is one sentence for a user."""


class UsageError(CollectorError):
    """A flag, a variable or the command line is wrong."""


class QuantityError(UsageError):
    """A text is not a duration or not a Kubernetes quantity."""

    def __init__(self, text: str, expected: str) -> None:
        super().__init__(f"{text!r} is not {expected}")
        self.text = text
        self.expected = expected


class MeasureError(CollectorError):
    """The proc mount cannot be read."""


class SpoolError(CollectorError):
    """A run cannot be kept or read back."""


class WriteError(SpoolError):
    """A folder or file of the spool cannot be written; ``number`` is the errno, never 0."""

    def __init__(self, path: str, number: int | None) -> None:
        self.number = number or errno.EIO
        super().__init__(f"{path!r} cannot be written: {os.strerror(self.number)}")


class HeldError(SpoolError):
    """Another process owns the run: it measures or pushes it."""


class GoneError(SpoolError):
    """The run is no longer in the spool."""


class LaterError(SpoolError):
    """A later version has written the run."""


class ForeignError(SpoolError):
    """The file is not a run."""
