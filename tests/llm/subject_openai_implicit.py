"""The adapter of OpenAI's protocol under the contract, on OpenAI before GPT-5.6."""

from __future__ import annotations

from dataclasses import replace

from model_contract import Has
from subject_deepseek import WINDOW
from subject_openai import SUBJECT as NEWER

from ifmem.testing.openai_server import OpenAIServer

SUBJECT = replace(
    NEWER,
    name="openai-implicit",
    model="gpt-5.4-nano",
    lacks=NEWER.lacks | {Has.LIFETIME},
    serve=lambda time: OpenAIServer(models={"gpt-5.4-nano": WINDOW}, clock=time),
    lifetimes=(),
)
