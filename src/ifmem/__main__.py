"""``python -m ifmem`` is the command line."""

from ifmem.entrypoints.start import run

if __name__ == "__main__":
    raise SystemExit(run())
