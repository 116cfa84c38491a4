"""The database: connections, tables, the writer task, queries."""
