"""The SQLite store: the system of record."""
