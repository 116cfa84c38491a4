"""Without the digest of a run: equal pushes are compared by their content."""

from tortoise import migrations
from tortoise.migrations import operations as ops
from tortoise.migrations.schema_editor.base import BaseSchemaEditor
from tortoise.migrations.schema_generator.state import State

_COLUMN = {
    "postgres": "SELECT 1 FROM pg_attribute WHERE attrelid = '{0}'::regclass "
    "AND attname = '{1}' AND NOT attisdropped",
    "sqlite": "SELECT 1 FROM pragma_table_info('{0}') WHERE name = '{1}'",
}


class RemoveColumn(ops.RemoveField):
    """Drops a column if it is still there: an earlier attempt may have ended before it was noted.

    Tortoise's own operation would make the table again on SQLite, without its indexes.
    """

    async def database_forward(
        self,
        app_label: str,
        old_state: State,
        new_state: State,
        state_editor: BaseSchemaEditor | None = None,
    ) -> None:
        """Drop the column."""
        if state_editor is None:
            return
        table = old_state.apps.get_model(f"{app_label}.{self.model_name}")._meta.db_table
        client = state_editor.client
        query = _COLUMN[client.capabilities.dialect].format(table, self.name)
        if await client.execute_query_dict(query):
            await client.execute_script(f'ALTER TABLE "{table}" DROP COLUMN "{self.name}"')


class Migration(migrations.Migration):
    """Drops the column."""

    dependencies = [("runs", "0002_received")]

    operations = [RemoveColumn(model_name="RunRecord", name="digest")]
