"""The searchable index of a space, rebuilt from the store."""
