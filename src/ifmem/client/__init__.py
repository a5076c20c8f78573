"""The daemon's callers: its socket, its start, and the public ``Memory``."""
