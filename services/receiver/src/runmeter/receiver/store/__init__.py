"""The database: connections, tables, the writer task, what is read."""
