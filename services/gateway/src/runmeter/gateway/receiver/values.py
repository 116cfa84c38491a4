"""The small things the messages are made of: times, statistics, names of enum values."""

from collections.abc import Mapping
from operator import attrgetter
from typing import TypeVar

from google.protobuf.timestamp_pb2 import Timestamp

from runmeter.gateway.schemas.instant import Instant
from runmeter.gateway.schemas.payload import ByteStatistics, RateStatistics
from runmeter.v1 import run_pb2 as pb

K = TypeVar("K")
V = TypeVar("V")

_SIX = attrgetter(*RateStatistics.__struct_fields__)  # those of ByteStatistics, too


def reversed_names(names: Mapping[K, V]) -> dict[V, K]:
    """Turn names → wire into wire → names.

    Read the result with ``.get``: a value that only a newer receiver knows is absent here.
    """
    return {value: name for name, value in names.items()}


def instant_to_wire(instant: Instant) -> Timestamp:
    """Make a Timestamp; before 1970 its nanoseconds still count forward."""
    seconds, milliseconds = divmod(instant.epoch_milliseconds, 1000)
    return Timestamp(seconds=seconds, nanos=milliseconds * 1_000_000)


def instant_from_wire(timestamp: Timestamp) -> Instant:
    """Read a Timestamp, cut off to whole milliseconds."""
    return Instant(timestamp.seconds * 1000 + timestamp.nanos // 1_000_000)


def rates_to_wire(statistics: RateStatistics | None) -> pb.RateStatistics | None:
    """Make statistics of a rate; None stays absent."""
    if statistics is None:
        return None
    return pb.RateStatistics(
        peak=statistics.peak,
        p99=statistics.p99,
        p95=statistics.p95,
        p75=statistics.p75,
        p50=statistics.p50,
        avg=statistics.avg,
    )


def rates_from_wire(statistics: pb.RateStatistics) -> RateStatistics:
    """Read statistics of a rate."""
    return RateStatistics(*_SIX(statistics))


def sizes_to_wire(statistics: ByteStatistics | None) -> pb.ByteStatistics | None:
    """Make statistics of a size; None stays absent."""
    if statistics is None:
        return None
    return pb.ByteStatistics(
        peak=statistics.peak,
        p99=statistics.p99,
        p95=statistics.p95,
        p75=statistics.p75,
        p50=statistics.p50,
        avg=statistics.avg,
    )


def sizes_from_wire(statistics: pb.ByteStatistics) -> ByteStatistics:
    """Read statistics of a size."""
    return ByteStatistics(*_SIX(statistics))
