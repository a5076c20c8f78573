"""The local model's part of the demo: cold, hot, and an answer whose quote code has found."""

from __future__ import annotations

import hashlib
import heapq
import tempfile
from pathlib import Path

import msgspec

from ifmem import clock
from ifmem.domain.model import Completion, ModelCall, Purpose
from ifmem.engine.analysis import names
from ifmem.engine.evidence import best_evidence, locate, question_weights
from ifmem.errors import ConfigError, IfMemError
from ifmem.llm.local_model import LocalModel
from ifmem.llm.local_weights import INSTALL
from ifmem.model_settings import LocalSettings
from ifmem.prompts.fencing import FencedDocument, fence
from ifmem.prompts.shard_answer import shard_answer

TEXT = "the prose in Python's heapq module, with one sentence planted in it"
PLANTED = "The lighthouse on Cape Morrow was built in 1874 by the engineer Adela Finch."
FIRST_QUESTION = "Which data structure is this about?"
QUESTION = "When was the lighthouse on Cape Morrow built?"
_PARAGRAPHS = 10
_PLANTED_AFTER = 8
_MOST_TOKENS = 32
_SETTINGS = LocalSettings(context=1_024, slots=1, saved_bytes=0)


class Asked(msgspec.Struct, frozen=True):
    """One question, in the engine's own counts."""

    question: str
    first_token_ms: float
    evaluated: int
    """Prompt tokens."""
    reused: int
    """Prompt tokens that were held from before."""


class LocalAnswer(msgspec.Struct, frozen=True):
    """What the model said, and what of the text proves it."""

    answer: str
    quote: str | None
    """The sentence of the text that holds what was asked and what was answered; None: no such."""
    line: int | None
    """Of the text, where code found the quote."""
    verified: bool


class LocalDemonstration(msgspec.Struct, frozen=True):
    """The local model at work, or how to install it."""

    missing: str | None
    """Why it is not shown, and what to type; None when it is."""
    model: str = ""
    text: str = ""
    cold: Asked | None = None
    hot: Asked | None = None
    ratio: float | None = None
    """Cold over hot, one sample of each: `ifmem bench hot` measures it."""
    answered: LocalAnswer | None = None


async def show() -> LocalDemonstration:
    """Ask the packaged model twice over the same text, in a directory that is removed."""
    with tempfile.TemporaryDirectory(prefix="ifmem-local-") as directory:
        model = LocalModel(_SETTINGS, directory=Path(directory))
        try:
            await model.load()
            return await _shown(model)
        except ConfigError:
            return LocalDemonstration(missing=f"not installed: {INSTALL}")
        except IfMemError as error:
            return LocalDemonstration(missing=error.message)
        finally:
            await model.aclose()


def proof(question: str, answer: str, text: str) -> LocalAnswer:
    """An answer with the sentence that proves it, found by code and never by the model.

    The sentence holds every name and number of the question and of the answer, and the answer has
    one that the question has not.
    """
    weights = question_weights(f"{question} {answer}", lambda _: 1.0)
    told = names(answer) - names(question)
    for evidence in best_evidence(weights, text, ""):
        quote = text[evidence.start : evidence.end]
        place = locate(quote, text)
        if told and told | names(question) <= names(quote) and place is not None:
            return LocalAnswer(answer, quote, text.count("\n", 0, place[0]) + 1, verified=True)
    return LocalAnswer(answer, None, None, verified=False)


async def _shown(model: LocalModel) -> LocalDemonstration:
    text = _text()
    cold = await model.complete(_call(text, FIRST_QUESTION, 1))
    hot = await model.complete(_call(text, QUESTION, _MOST_TOKENS))
    first, second = _asked(FIRST_QUESTION, cold), _asked(QUESTION, hot)
    return LocalDemonstration(
        missing=None,
        model=hot.model,
        text=TEXT,
        cold=first,
        hot=second,
        ratio=round(first.first_token_ms / second.first_token_ms, 1),
        answered=proof(QUESTION, hot.text.strip(), text),
    )


def _text() -> str:
    about: str = heapq.__about__
    paragraphs = about.strip().split("\n\n")[:_PARAGRAPHS]
    paragraphs.insert(_PLANTED_AFTER, PLANTED)
    return "\n\n".join(paragraphs) + "\n"


def _call(text: str, question: str, most: int) -> ModelCall:
    digest = hashlib.sha256(text.encode()).hexdigest()
    documents = fence([FencedDocument(1, "heapq", digest, text)])
    return ModelCall(
        call_id=clock.new_id(),
        prompt=shard_answer(documents, question, structured=False),
        purpose=Purpose.ANSWER,
        max_output=most,
    )


def _asked(question: str, done: Completion) -> Asked:
    usage = done.usage
    taken = done.total_ms if done.first_token_ms is None else done.first_token_ms
    return Asked(question, taken, usage.prompt - usage.cache_read, usage.cache_read)
