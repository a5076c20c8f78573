"""A worker under fire whose server-side functions lack one check: what the checker must notice.

Run as ``python broken_worker.py CHECK ORDER``. The text of the functions is changed as it is read,
here and in no switch of the product.
"""

from __future__ import annotations

import asyncio
import logging
import sys

import msgspec

from ifmem.benchmarks.struck_worker import StruckOrder, work
from ifmem.bus import server_side

WITHOUT = {
    "fence": (
        "refusal(prefix) or not_held(prefix, task, worker, fence, 'finish')",
        "refusal(prefix)",
    ),
    "dedupe": (
        "if known then return {'known', integer(known), last_entry(prefix)} end",
        "",
    ),
}
"""By check: its text, and what stands there without it."""


def body_without(check: str) -> str:
    """The text of all functions without one check.

    Raises:
        LookupError: the check is not there once; what was to be broken would be whole.
    """
    text, instead = WITHOUT[check]
    whole = server_side.body()
    if whole.count(text) != 1:
        raise LookupError(f"the {check} check is written otherwise by now: {text}")
    return whole.replace(text, instead)


if __name__ == "__main__":
    _broken = body_without(sys.argv[1])
    server_side.body = lambda: _broken  # type: ignore[assignment]
    logging.getLogger("ifmem").setLevel(logging.ERROR)
    asyncio.run(work(msgspec.json.decode(sys.argv[2], type=StruckOrder)))
