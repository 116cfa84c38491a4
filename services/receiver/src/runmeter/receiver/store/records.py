"""Tables: a row per run, a row per container of a run.

The run itself is the ``payload`` column, protobuf bytes; the other columns are those that queries
filter or order by. Times are milliseconds since 1970, which all databases compare in the same way.
"""

from collections.abc import Mapping
from typing import Any

from tortoise import fields
from tortoise.indexes import Index
from tortoise.models import Model

from runmeter.receiver.model import Push, PushKey, Scope, silent_after_ms
from runmeter.v1 import run_pb2


class RunRecord(Model):
    """One run: identity, the order of pushes, times, figures, payload."""

    _no_comments = True  # or Tortoise reads this file, and tokenizes it

    id = fields.BigIntField(primary_key=True)
    organization = fields.CharField(max_length=255)
    repository = fields.CharField(max_length=255)
    workflow = fields.CharField(max_length=255)
    job = fields.CharField(max_length=255)
    push_id = fields.CharField(max_length=36)
    run_id = fields.CharField(max_length=255)
    state = fields.SmallIntField()
    revision = fields.BigIntField()
    received_at_ms = fields.BigIntField()
    updated_at_ms = fields.BigIntField()
    # a RUNNING run without a push until then reads as INTERRUPTED; NULL: never
    silent_after_ms = fields.BigIntField(null=True)
    started_at_ms = fields.BigIntField()
    duration_seconds = fields.FloatField()
    cpu_peak_percent = fields.FloatField(null=True)
    cpu_p95_percent = fields.FloatField(null=True)
    mem_peak_bytes = fields.BigIntField(null=True)
    mem_p95_bytes = fields.BigIntField(null=True)
    payload_size_bytes = fields.IntField()
    payload = fields.BinaryField()

    class Meta:
        """Names are fixed: migrations refer to them."""

        table = "run"
        # push_id first: pushes are looked up by it
        unique_together = (("push_id", "organization", "repository", "workflow", "job"),)
        indexes = (
            Index(fields=("organization", "repository", "workflow", "job", "id"), name="run_scope"),
            # what is old: never changed, so that a further push of a run need not touch it
            Index(fields=("received_at_ms",), name="run_received"),
        )


class ContainerRecord(Model):
    """One container of one run."""

    _no_comments = True

    id = fields.BigIntField(primary_key=True)
    run = fields.ForeignKeyField(  # type: ignore[var-annotated]
        "runs.RunRecord", related_name="containers", on_delete=fields.CASCADE
    )
    name = fields.CharField(max_length=1024)
    cpu_seconds = fields.FloatField(null=True)
    cpu_peak_cores = fields.FloatField(null=True)
    cpu_p95_cores = fields.FloatField(null=True)
    memory_peak_bytes = fields.BigIntField(null=True)
    memory_p95_bytes = fields.BigIntField(null=True)

    class Meta:
        """Names are fixed: migrations refer to them."""

        table = "run_container"
        indexes = (Index(fields=("run_id",), name="run_container_run"),)


CONTAINER_COLUMNS = (
    "run_id",
    "name",
    "cpu_seconds",
    "cpu_peak_cores",
    "cpu_p95_cores",
    "memory_peak_bytes",
    "memory_p95_bytes",
)


def key_of(row: Mapping[str, Any]) -> PushKey:
    """Return the identity of a run from its columns."""
    return PushKey(Scope(*(row[name] for name in Scope._fields)), row["push_id"])


def run_columns(push: Push) -> dict[str, Any]:
    """Return all columns of a run except ``id``, as they are when it is first stored."""
    run, payload = push.run, push.run.payload
    cpu = payload.cpu_total_percent if payload.HasField("cpu_total_percent") else None
    memory = payload.mem_used_bytes if payload.HasField("mem_used_bytes") else None
    return {
        **push.scope._asdict(),
        "push_id": run.push_id,
        "run_id": run.run_id,
        "state": run.state,
        "revision": run.revision,
        "received_at_ms": push.received_at_ms,
        "updated_at_ms": push.arrived_at_ms,
        "silent_after_ms": silent_after_ms(run, push.arrived_at_ms),
        "started_at_ms": payload.start_time.ToMilliseconds(),
        "duration_seconds": payload.duration_seconds,
        "cpu_peak_percent": None if cpu is None else cpu.peak,
        "cpu_p95_percent": None if cpu is None else cpu.p95,
        "mem_peak_bytes": None if memory is None else memory.peak,
        "mem_p95_bytes": None if memory is None else memory.p95,
        "payload_size_bytes": len(push.payload),
        "payload": push.payload,
    }


def container_row(run_row_id: int, container: run_pb2.Container) -> tuple[Any, ...]:
    """Return the values of CONTAINER_COLUMNS for a container of a run."""
    cpu = container.cpu_cores if container.HasField("cpu_cores") else None
    memory = container.memory_bytes if container.HasField("memory_bytes") else None
    return (
        run_row_id,
        container.name,
        container.cpu_seconds if container.HasField("cpu_seconds") else None,
        None if cpu is None else cpu.peak,
        None if cpu is None else cpu.p95,
        None if memory is None else memory.peak,
        None if memory is None else memory.p95,
    )
