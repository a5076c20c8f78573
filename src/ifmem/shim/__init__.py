"""What agents start: the stdio shim and the hook, of the standard library only.

Everything here is imported while an agent waits, so what is slow to import (dataclasses, argparse,
subprocess, asyncio) is left out, or imported where it is needed.
"""
