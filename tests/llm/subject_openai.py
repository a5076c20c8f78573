"""The adapter of OpenAI's protocol under the contract, on OpenAI from GPT-5.6 on."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from hypothesis import strategies as st
from model_contract import Has
from subject_deepseek import WINDOW, ChatSubject, counts, usage_law

from ifmem.testing.openai_server import OpenAIServer


@st.composite
def reports(draw: st.DrawFn) -> dict[str, Any]:
    read, written, rest, thought, said = (draw(counts) for _ in range(5))
    details: dict[str, Any] = {"cached_tokens": read, "audio_tokens": None}
    if written or draw(st.booleans()):
        details["cache_write_tokens"] = written
    return {
        "prompt_tokens": read + written + rest,
        "prompt_tokens_details": details,
        "completion_tokens": thought + said,
        "completion_tokens_details": {"reasoning_tokens": thought},
        "total_tokens": read + written + rest + thought + said,
    }


SUBJECT = ChatSubject(
    name="openai",
    vendor="openai",
    model="gpt-6-luna",
    lacks=frozenset({Has.MISS_REASON}),
    serve=lambda time: OpenAIServer(models={"gpt-6-luna": WINDOW}, clock=time),
    usage=usage_law(reports()),
    key_name="OPENAI_API_KEY",
    lifetimes=(timedelta(minutes=30),),
)
