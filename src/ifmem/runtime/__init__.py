"""Who runs: what the daemon does, one module per subject."""
