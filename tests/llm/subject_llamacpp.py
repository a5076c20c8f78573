"""The adapter of OpenAI's protocol under the contract, on a llama.cpp server of one's own."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from model_contract import Has, Trouble
from subject_deepseek import WINDOW, ChatSubject, counts, usage_law

from ifmem.testing.plain_openai_server import PlainOpenAIServer


@st.composite
def reports(draw: st.DrawFn) -> dict[str, Any]:
    read, rest, said = (draw(counts) for _ in range(3))
    return {
        "prompt_tokens": read + rest,
        "prompt_tokens_details": {"cached_tokens": read},
        "completion_tokens": said,
        "total_tokens": read + rest + said,
    }


def error(code: int, kind: str, message: str) -> tuple[int, object]:
    return code, {"error": {"code": code, "message": message, "type": kind}}


SUBJECT = ChatSubject(
    name="llamacpp",
    vendor="llamacpp",
    model="smol",
    lacks=frozenset({Has.KEY, Has.LIFETIME, Has.MISS_REASON, Has.LIMITS, Has.REFUSAL}),
    serve=lambda _: PlainOpenAIServer(flavour="llamacpp", models={"smol": WINDOW}),
    usage=usage_law(reports()),
    least_tokens=16,
    faults={
        Trouble.OVERFLOW: error(
            400,
            "exceed_context_size_error",
            "request (31000 tokens) exceeds the available context size (30000 tokens)",
        ),
        Trouble.OVERLOADED: error(503, "unavailable_error", "Loading model"),
        Trouble.BAD_REQUEST: error(400, "invalid_request_error", "Failed to parse messages"),
    },
)
