"""How it is written down: Redis keys, blobs and JSON shapes."""
