"""An index by arrival, for deleting old runs."""

from tortoise import migrations
from tortoise.indexes import Index
from tortoise.migrations import operations as ops


class Migration(migrations.Migration):
    """Creates the index; drops it first, in case an earlier attempt ended before it was noted."""

    dependencies = [("runs", "0001_initial")]

    operations = [
        ops.RunSQL('DROP INDEX IF EXISTS "run_received"', reverse_sql=ops.RunSQL.noop),
        ops.AddIndex(
            model_name="RunRecord", index=Index(fields=["received_at_ms"], name="run_received")
        ),
    ]
