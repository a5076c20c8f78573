"""The model in this process under the contract: real weights, a small window, nothing in between.

Without a vendor there are no keys, limits, lifetimes or connections, and answers cannot be
dictated.
"""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from model_contract import PATIENCE_S, PLAIN, Answered, Has, Opened, Sent, Trouble, UsageLaw

from ifmem.errors import ConfigError
from ifmem.llm.local_engine import Evaluated
from ifmem.llm.local_evaluation import usage_of
from ifmem.llm.local_model import LocalModel
from ifmem.llm.local_weights import weights
from ifmem.model_settings import LocalSettings
from ifmem.testing.loopback import Fault, Request

CONTEXT = 200


def why_not() -> str:
    """Why the local model cannot run here; empty: it can."""
    if importlib.util.find_spec("xllamacpp") is None:
        return "the extra `local` is not installed"
    try:
        weights(LocalSettings())
    except ConfigError as error:
        return error.message
    return ""


@st.composite
def reports(draw: st.DrawFn) -> tuple[Evaluated, int]:
    """What the engine may report, and the tokens before the boundary."""
    prompt = draw(st.integers(1, 8_000))
    report = Evaluated(
        text="",
        cut=False,
        prompt=prompt,
        reused=draw(st.integers(0, prompt - 1)),
        generated=draw(st.integers(0, 500)),
        first_token_at=None,
        request_id="",
    )
    return report, draw(st.integers(0, prompt))


class _Local:
    name = "local"
    lacks = frozenset(Has) - {Has.CACHE, Has.MISS_REASON, Has.STREAM}
    unavailable = why_not()
    key_name = ""
    prefix_tokens = 60
    overflow_tokens = 400
    usage = UsageLaw(
        reports=reports(),
        normalise=lambda report: usage_of(*report),
        prompt=lambda report: report[0].prompt,
        generated=lambda report: report[0].generated,
    )

    @asynccontextmanager
    async def open(
        self,
        *,
        answer: Answered = PLAIN,
        key: str | None = None,
        url: str | None = None,
        model: str | None = None,
        timeout_seconds: float = PATIENCE_S,
        structured: bool = False,
    ) -> AsyncIterator[Opened]:
        with tempfile.TemporaryDirectory() as directory:
            opened = LocalModel(LocalSettings(context=CONTEXT), directory=Path(directory) / "slots")
            try:
                yield Opened(model=opened, server=None)
            finally:
                await opened.aclose()

    def fault(self, trouble: Trouble) -> Fault:
        raise NotImplementedError("nothing in between can be made to fail")

    def sent(self, request: Request) -> Sent:
        raise NotImplementedError("nothing is sent")


SUBJECT: Any = _Local()
