"""The first schema: runs and their containers."""

from tortoise import fields, migrations
from tortoise.fields.base import OnDelete
from tortoise.indexes import Index
from tortoise.migrations import operations as ops

_SCOPE = ("organization", "repository", "workflow", "job")


class Migration(migrations.Migration):
    """Creates both tables with their indexes."""

    initial = True

    operations = [
        ops.CreateModel(
            name="RunRecord",
            fields=[
                (
                    "id",
                    fields.BigIntField(
                        generated=True, primary_key=True, unique=True, db_index=True
                    ),
                ),
                ("organization", fields.CharField(max_length=255)),
                ("repository", fields.CharField(max_length=255)),
                ("workflow", fields.CharField(max_length=255)),
                ("job", fields.CharField(max_length=255)),
                ("push_id", fields.CharField(max_length=36)),
                ("run_id", fields.CharField(max_length=255)),
                ("state", fields.SmallIntField()),
                ("revision", fields.BigIntField()),
                ("digest", fields.BinaryField()),
                ("received_at_ms", fields.BigIntField()),
                ("updated_at_ms", fields.BigIntField()),
                ("silent_after_ms", fields.BigIntField(null=True)),
                ("started_at_ms", fields.BigIntField()),
                ("duration_seconds", fields.FloatField()),
                ("cpu_peak_percent", fields.FloatField(null=True)),
                ("cpu_p95_percent", fields.FloatField(null=True)),
                ("mem_peak_bytes", fields.BigIntField(null=True)),
                ("mem_p95_bytes", fields.BigIntField(null=True)),
                ("payload_size_bytes", fields.IntField()),
                ("payload", fields.BinaryField()),
            ],
            options={
                "table": "run",
                "app": "runs",
                "unique_together": (("push_id", *_SCOPE),),
                "indexes": [Index(fields=[*_SCOPE, "id"], name="run_scope")],
                "pk_attr": "id",
                "table_description": "One run: identity, the order of pushes, times, figures, "
                "payload.",
            },
            bases=["Model"],
        ),
        ops.CreateModel(
            name="ContainerRecord",
            fields=[
                (
                    "id",
                    fields.BigIntField(
                        generated=True, primary_key=True, unique=True, db_index=True
                    ),
                ),
                (
                    "run",
                    fields.ForeignKeyField(
                        "runs.RunRecord",
                        source_field="run_id",
                        db_constraint=True,
                        to_field="id",
                        related_name="containers",
                        on_delete=OnDelete.CASCADE,
                    ),
                ),
                ("name", fields.CharField(max_length=1024)),
                ("cpu_seconds", fields.FloatField(null=True)),
                ("cpu_peak_cores", fields.FloatField(null=True)),
                ("cpu_p95_cores", fields.FloatField(null=True)),
                ("memory_peak_bytes", fields.BigIntField(null=True)),
                ("memory_p95_bytes", fields.BigIntField(null=True)),
            ],
            options={
                "table": "run_container",
                "app": "runs",
                "indexes": [Index(fields=["run_id"], name="run_container_run")],
                "pk_attr": "id",
                "table_description": "One container of one run.",
            },
            bases=["Model"],
        ),
    ]
