"""What agents start: the stdio shim and the hook, of the standard library only."""
