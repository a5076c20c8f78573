"""The local model: llama.cpp in this process, with prefixes kept hot in slots and in files."""

from __future__ import annotations

import asyncio
import atexit
import threading
from functools import partial
from pathlib import Path

from ifmem import clock
from ifmem.domain.model import (
    LOCAL,
    CacheRules,
    Caching,
    Completion,
    ModelCall,
    ModelCard,
    ModelRef,
)
from ifmem.errors import ConfigError, ContextOverflow, IfMemError, Unavailable
from ifmem.llm import local_saved_slots
from ifmem.llm.local_engine import Engine, Stopped, binding
from ifmem.llm.local_evaluation import Evaluation, Loaded
from ifmem.llm.local_prompt import PromptTokens, Tokenizer, chat_template
from ifmem.llm.local_saved_slots import EngineIdentity, SavedSlots
from ifmem.llm.local_slots import Slots
from ifmem.llm.local_threads import Threads, call_in
from ifmem.llm.local_weights import identity, weights
from ifmem.model_settings import LocalSettings

_FACTOR = 1.2
"""SmolLM2's tokens for one o200k token: 1.07 to 1.18 on English, Markdown and Python (2026-11)."""
_EXIT_SECONDS = 10.0


def local_card(settings: LocalSettings, *, exact_count: bool = False) -> ModelCard:
    """What is known of the local model; its count is exact once the engine is loaded."""
    return ModelCard(
        ref=ModelRef(LOCAL),
        window=settings.context,
        max_output=settings.context,
        cache=CacheRules(caching=Caching.ENGINE),
        tokens_per_o200k=_FACTOR,
        structured=False,
        exact_count=exact_count,
    )


class LocalModel:
    """The model in this process; its engine is started by the first call.

    Args:
        directory: where slots are saved, for this user alone. Several processes may share it.
    """

    def __init__(self, settings: LocalSettings, *, directory: Path) -> None:
        self._settings = settings
        self._directory = directory
        self._slots = Slots(settings.slots)
        self._loading: asyncio.Future[Loaded] | None = None
        self._threads = Threads()
        self._closed = threading.Event()

    @property
    def card(self) -> ModelCard:
        """What is known of it."""
        return local_card(self._settings, exact_count=self._loaded() is not None)

    async def load(self) -> None:
        """Start the engine, if it does not run.

        The binding does not let go of the interpreter while it reads the weights (0.3 s for
        SmolLM2-135M), so everything else in the process waits that long, once.

        Raises:
            ConfigError: the extra or the weights are missing, or do not fit the settings.
        """
        await self._ready()

    async def complete(self, call: ModelCall) -> Completion:
        """The answer, the most probable token each time."""
        started = clock.stopwatch_ns()
        loaded = await self._ready()
        prompt = await self._threads.run(partial(loaded.tokenizer.tokens, call.prompt))
        return await self._evaluate(loaded, call, prompt, started)

    async def warm(self, call: ModelCall) -> Completion:
        """Evaluate the prefix; the engine generates one token, and nobody sees it."""
        started = clock.stopwatch_ns()
        loaded = await self._ready()
        prefix = await self._threads.run(partial(loaded.tokenizer.prefix, call.prompt))
        return await self._evaluate(loaded, call, PromptTokens(prefix, ()), started)

    async def count(self, text: str) -> int:
        """Tokens of a text; starts the engine."""
        loaded = await self._ready()
        return len(await self._threads.run(partial(loaded.tokenizer.text, text)))

    async def drop(self, handle: str) -> None:
        """Erase a slot, in memory and on disk, once nobody uses it."""
        local_saved_slots.remove(self._directory, handle)
        slot = await self._slots.take_holder(handle)
        loaded = self._loaded()
        if slot is None or loaded is None:
            return
        # Whoever used it last may have saved it while we waited.
        local_saved_slots.remove(self._directory, handle)
        self._slots.forget(slot)
        await self._threads.run(
            partial(loaded.engine.erase, slot.number),
            at_last=partial(self._slots.release, slot),
        )

    async def aclose(self) -> None:
        """Stop what is being generated, and free the engine: no thread and no socket is left."""
        self._closed.set()
        loading, self._loading = self._loading, None
        if loading is None:
            return
        await asyncio.wait((loading,))
        await self._threads.run(self._threads.join)
        atexit.unregister(self._at_exit)
        if loading.exception() is None:
            loading.result().engine.close()

    def _loaded(self) -> Loaded | None:
        loading = self._loading
        if loading is None or not loading.done() or loading.exception() is not None:
            return None
        return loading.result()

    async def _ready(self) -> Loaded:
        if self._closed.is_set():
            raise _closed()
        if self._loading is None:
            atexit.register(self._at_exit)
            self._loading = self._threads.run(self._load)
        loading = self._loading
        try:
            # Whoever gives up must not take the engine from those who also wait for it.
            return await asyncio.shield(loading)
        except IfMemError:
            if self._loading is loading:
                self._loading = None
            raise

    def _load(self) -> Loaded:
        settings = self._settings
        # The extra first: without it, weights are of no use.
        build = f"xllamacpp {binding().__version__}"
        path = weights(settings)
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                f"the local model cannot save its slots in {self._directory} ({error.strerror}): "
                "choose another --home",
                path=str(self._directory),
            ) from error
        engine = Engine(path, settings, self._directory)
        try:
            tokenizer = Tokenizer(chat_template(engine.template), engine.tokenize)
        except IfMemError:
            engine.close()
            raise
        computed_by = EngineIdentity(build, identity(path), settings.context)
        saved = SavedSlots(self._directory, computed_by, limit=settings.saved_bytes)
        return Loaded(engine, tokenizer, saved, path.name)

    async def _evaluate(
        self, loaded: Loaded, call: ModelCall, prompt: PromptTokens, started: int
    ) -> Completion:
        needed = len(prompt.prefix) + len(prompt.question)
        room = self._settings.context - needed
        if room < 1:
            raise ContextOverflow(
                f"the prompt has {needed:,} tokens and the local model's window is "
                f"{self._settings.context:,}: ask over less, or raise local.context",
                needed=needed,
                window=self._settings.context,
            )
        name = loaded.saved.name(call.prompt.prefix_sha256)
        slot, held = await self._slots.take(name, prompt.prefix)
        if self._closed.is_set():
            self._slots.release(slot)
            raise _closed()
        loop = asyncio.get_running_loop()
        stop = threading.Event()
        work = Evaluation(
            loaded,
            slot,
            name,
            prompt,
            held=held,
            kept=bool(call.prompt.documents),
            most=min(call.max_output, room),
            begun=lambda: call_in(loop, call.begun or _nobody_listens),
            stopped=lambda: stop.is_set() or self._closed.is_set(),
        )
        try:
            evaluated = await self._threads.run(
                work.evaluate,
                afterwards=work.save,
                at_last=partial(self._give_back, work),
            )
        except Stopped as error:
            raise _closed() from error
        finally:
            stop.set()
        return work.completion(evaluated, started)

    def _give_back(self, work: Evaluation) -> None:
        if not work.done:
            # What it holds is a part of the prefix at best; a saved file may hold all of it.
            self._slots.forget(work.slot)
        self._slots.release(work.slot)

    def _at_exit(self) -> None:
        """The interpreter ends without ``aclose``: the engine's threads must not outlive it."""
        self._closed.set()
        self._threads.join(_EXIT_SECONDS)
        loaded = self._loaded()
        if loaded is not None and not self._threads.busy:
            loaded.engine.close()


def _closed() -> Unavailable:
    return Unavailable("the local model was closed before it had answered: ask again")


def _nobody_listens() -> None:
    pass
