"""SQLite for Tortoise, and the files that a database consists of."""
