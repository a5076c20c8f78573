"""The adapter of OpenAI's protocol under the contract, on a vLLM of one's own."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import strategies as st
from model_contract import Trouble
from subject_deepseek import WINDOW, counts, usage_law
from subject_llamacpp import SUBJECT as LLAMACPP

from ifmem.testing.plain_openai_server import PlainOpenAIServer


@st.composite
def reports(draw: st.DrawFn) -> dict[str, Any]:
    """The details are left out when nothing was cached, or when nobody asked for them."""
    read, rest, said = (draw(counts) for _ in range(3))
    details = {"cached_tokens": read} if read else None
    return {
        "prompt_tokens": read + rest,
        "prompt_tokens_details": draw(st.sampled_from([details, None])),
        "completion_tokens": said,
        "total_tokens": read + rest + said,
    }


def error(status: int, kind: str, message: str) -> tuple[int, object]:
    return status, {"object": "error", "message": message, "type": kind, "code": status}


SUBJECT = replace(
    LLAMACPP,
    name="vllm",
    vendor="vllm",
    serve=lambda _: PlainOpenAIServer(models={"smol": WINDOW}),
    usage=usage_law(reports()),
    faults={
        Trouble.NO_MODEL: error(404, "NotFoundError", "The model `x` does not exist."),
        Trouble.OVERFLOW: error(
            400,
            "BadRequestError",
            "This model's maximum context length is 30000 tokens. However, you requested 31000"
            " tokens (30400 in the messages, 600 in the completion).",
        ),
        Trouble.BAD_REQUEST: error(400, "BadRequestError", "Extra inputs are not permitted"),
    },
)
