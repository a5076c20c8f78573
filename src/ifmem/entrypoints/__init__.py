"""Where the outside comes in: the command line and the daemon process."""
