"""Times and names of enum values, between JSON and messages."""

from collections.abc import Mapping
from typing import TypeVar

from google.protobuf.timestamp_pb2 import Timestamp

from runmeter.gateway.schemas.instant import Instant
from runmeter.v1.json_values import set_time, time_ms

K = TypeVar("K")
V = TypeVar("V")


def reversed_names(names: Mapping[K, V]) -> dict[V, K]:
    """Turn names → wire into wire → names.

    Read the result with ``.get``: a value that only a newer receiver knows is absent here.
    """
    return {value: name for name, value in names.items()}


def instant_to_wire(instant: Instant) -> Timestamp:
    """Make a Timestamp; its nanoseconds are never negative, also before 1970."""
    timestamp = Timestamp()
    set_time(timestamp, instant.epoch_milliseconds)
    return timestamp


def instant_from_wire(timestamp: Timestamp) -> Instant:
    """Read a Timestamp, cut off to whole milliseconds."""
    return Instant(time_ms(timestamp))
