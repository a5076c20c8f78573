"""The Redis/Valkey bus: the embedded server, the connection, the server-side functions."""
