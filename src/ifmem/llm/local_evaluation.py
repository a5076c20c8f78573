"""One call of the local model in its slot: restored, evaluated, counted, saved."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from ifmem import clock
from ifmem.domain.model import Completion, Stop
from ifmem.domain.usage import TokenUsage
from ifmem.errors import IfMemError
from ifmem.llm import local_saved_slots
from ifmem.llm.local_engine import Engine, Evaluated
from ifmem.llm.local_prompt import PromptTokens, Tokenizer
from ifmem.llm.local_saved_slots import SavedSlots
from ifmem.llm.local_slots import Slot

_ABSENT = "neither a slot nor a saved file held this prefix"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Loaded:
    """What the first call has made."""

    engine: Engine
    tokenizer: Tokenizer
    saved: SavedSlots
    name: str
    """Of the weights."""


@dataclass(slots=True)
class Evaluation:
    """One call in a slot that is taken for it; ``evaluate`` and ``save`` run in a thread."""

    loaded: Loaded
    slot: Slot
    name: str
    prompt: PromptTokens
    held: bool
    """The slot has the prefix already."""
    kept: bool
    """The prefix is worth saving."""
    most: int
    """Tokens of the answer."""
    begun: Callable[[], object]
    """Called once, when the answer begins."""
    stopped: Callable[[], bool]
    """Asked at every batch and token."""
    done: bool = False

    def evaluate(self) -> Evaluated:
        """Restore what is saved, evaluate the rest, and answer.

        Raises:
            Stopped: ``stopped`` said so.
            Failed: the engine refused.
        """
        if self.kept and not self.held:
            self._restore()
        tokens = self.prompt.prefix + self.prompt.question
        evaluated = self.loaded.engine.evaluate(
            self.slot.number,
            tokens,
            most=self.most if self.prompt.question else 0,
            begun=self.begun,
            stopped=self.stopped,
        )
        self.done = True
        return evaluated

    def save(self) -> None:
        """Save the slot, when it is worth it and not saved yet; a failure is only logged."""
        saved, engine = self.loaded.saved, self.loaded.engine
        if not self.kept:
            return
        if not saved.wanted(self.name):
            saved.touch(self.name)
            return
        try:
            saved.save(self.name, self.prompt.prefix, partial(engine.save, self.slot.number))
        except (OSError, IfMemError) as error:
            log.warning("a slot of the local model was not saved: %s", error)

    def completion(self, evaluated: Evaluated, started: int) -> Completion:
        """What came of it, counted from a ``stopwatch_ns``."""
        asked = bool(self.prompt.question)
        before = len(self.prompt.prefix)
        usage = usage_of(evaluated, before if self.kept else 0)
        return Completion(
            text=evaluated.text if asked else "",
            stop=Stop.LENGTH if asked and evaluated.cut else Stop.END,
            usage=usage,
            model=self.loaded.name,
            first_token_ms=_ms(started, evaluated.first_token_at) if asked else None,
            total_ms=clock.milliseconds_since(started),
            request_id=evaluated.request_id,
            handle=self.name if self.kept else None,
            miss_reason=_ABSENT if usage.cache_write > before / 10 else None,
        )

    def _restore(self) -> None:
        saved, engine = self.loaded.saved, self.loaded.engine
        note = saved.usable(self.name, self.prompt.prefix)
        if note is None:
            return
        try:
            if engine.restore(self.slot.number, self.name) != note.held:
                engine.erase(self.slot.number)
        except IfMemError as error:
            log.warning("a saved slot of the local model was not restored: %s", error)
            local_saved_slots.remove(saved.directory, self.name)


def usage_of(evaluated: Evaluated, prefix: int) -> TokenUsage:
    """The engine's counts in buckets.

    Tokens that were in the slot are ``cache_read``; those of the prefix that it had to evaluate,
    and now holds, ``cache_write_other``; the rest of the prompt ``uncached``. All are free.

    Args:
        prefix: tokens before the boundary; 0 when nothing of it is to be kept.
    """
    written = max(0, prefix - evaluated.reused)
    return TokenUsage(
        uncached=evaluated.prompt - evaluated.reused - written,
        cache_write_other=written,
        cache_read=evaluated.reused,
        output=evaluated.generated,
    )


def _ms(started: int, ended: int | None) -> float | None:
    return None if ended is None else round((ended - started) / 1e6, 3)
