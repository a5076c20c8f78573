"""What the same questions would have cost in other ways, from the same log and the same prices.

Everywhere the words that were generated are the same, as really generated; only what had to be
read differs. Where something is not known, a baseline is given the cheaper case.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from fractions import Fraction

from ifmem.domain.model import CacheRules, Caching, ModelCard
from ifmem.domain.price import Price
from ifmem.domain.usage import TokenUsage
from ifmem.engine.asked_shards import AnsweredQuestion, in_model_tokens
from ifmem.engine.budgets import written_as


class Way(StrEnum):
    """What each question would send."""

    REREAD = "reread"
    """The documents of the asked shards, uncached."""
    REREAD_CACHED = "reread_cached"
    """The same, written to the provider's cache when it has lapsed, else read from it."""
    ONE_WINDOW = "one_window"
    """All shards in one hot prompt."""
    RETRIEVAL = "retrieval"
    """What ``recall`` returns, uncached."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """One way, over all questions; ``cost`` is None where it cannot be gone, with the reason."""

    way: Way
    cost: int | None = None
    """Pico-dollars."""
    usage: TokenUsage = field(default_factory=TokenUsage)
    why: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """One prompt of a baseline."""

    model: str
    price: Price
    at: datetime
    key: str
    """Names what is sent again and again; prompts of one key share a prefix."""
    digest: str
    """Of that prefix; empty where it is not known."""
    prefix: int
    """Tokens before the cache boundary."""
    question: int
    generated: TokenUsage


def baselines(
    questions: Sequence[AnsweredQuestion],
    ratios: Mapping[str, Fraction],
    cards: Mapping[str, ModelCard],
) -> tuple[Baseline, ...]:
    """All four, over questions in the order of time.

    Args:
        ratios: of every model of the questions, its tokens for one o200k token.
        cards: of the models that are still known; what needs a missing one is not computed.
    """
    if not questions:
        why = "no question was answered by a model in this time"
        return tuple(Baseline(way=way, why=why) for way in Way)
    shards = [prompt for one in questions for prompt in _of_shards(one, ratios)]
    joining = sum(one.joining for one in questions)
    return (
        _uncached(Way.REREAD, shards, cards, joining),
        _cached(Way.REREAD_CACHED, shards, cards, joining),
        _one_window([_of_corpus(one, ratios) for one in questions], cards),
        _uncached(Way.RETRIEVAL, [_of_recall(one, ratios) for one in questions], cards, 0),
    )


def _of_shards(one: AnsweredQuestion, ratios: Mapping[str, Fraction]) -> Iterable[Prompt]:
    for shard in one.shards:
        yield Prompt(
            model=shard.model,
            price=shard.price,
            at=one.at,
            key=f"{shard.model} {shard.shard}",
            digest=shard.prefix_sha256,
            prefix=shard.tokens,
            question=in_model_tokens(one.asked.question_tokens, ratios[shard.model]),
            generated=shard.generated,
        )


def _of_corpus(one: AnsweredQuestion, ratios: Mapping[str, Fraction]) -> Prompt:
    return _single(one, one.asked.corpus_tokens, ratios)


def _of_recall(one: AnsweredQuestion, ratios: Mapping[str, Fraction]) -> Prompt:
    return _single(one, one.asked.retrieved_tokens, ratios)


def _single(one: AnsweredQuestion, o200k: int, ratios: Mapping[str, Fraction]) -> Prompt:
    """One prompt to the model that had most to read."""
    model = one.model
    return Prompt(
        model=model,
        price=next(shard.price for shard in one.shards if shard.model == model),
        at=one.at,
        key=model,
        digest="",
        prefix=in_model_tokens(o200k, ratios[model]),
        question=in_model_tokens(one.asked.question_tokens, ratios[model]),
        generated=one.generated,
    )


def _uncached(
    way: Way, prompts: Sequence[Prompt], cards: Mapping[str, ModelCard], joining: int
) -> Baseline:
    total, cost = TokenUsage(), joining
    for prompt in prompts:
        usage = TokenUsage(uncached=prompt.prefix + prompt.question) + prompt.generated
        total, cost = total + usage, cost + _cost(prompt, usage, cards.get(prompt.model))
    return Baseline(way=way, cost=cost, usage=total)


def _one_window(prompts: Sequence[Prompt], cards: Mapping[str, ModelCard]) -> Baseline:
    for model in sorted({prompt.model for prompt in prompts} & cards.keys()):
        window = cards[model].window
        longest = max(
            one.prefix + one.question + one.generated.generated
            for one in prompts
            if one.model == model
        )
        if longest > window:
            return Baseline(
                way=Way.ONE_WINDOW,
                why=f"does not fit: {longest:,} tokens, and the window of {model} holds {window:,}",
            )
    return _cached(Way.ONE_WINDOW, prompts, cards, 0)


def _cached(
    way: Way, prompts: Sequence[Prompt], cards: Mapping[str, ModelCard], joining: int
) -> Baseline:
    total, cost = TokenUsage(), joining
    for model in sorted({prompt.model for prompt in prompts}):
        if model not in cards:
            return Baseline(way=way, why=f"nothing is known any more of how {model} is cached")
        card = cards[model]
        own = [prompt for prompt in prompts if prompt.model == model]
        tried = [
            _with_lifetime(own, card, lifetime) for lifetime in card.cache.lifetimes or (None,)
        ]
        cheapest = min(tried, key=lambda one: one[0])
        cost, total = cost + cheapest[0], total + cheapest[1]
    return Baseline(way=way, cost=cost, usage=total)


def _with_lifetime(
    prompts: Sequence[Prompt], card: ModelCard, lifetime: timedelta | None
) -> tuple[int, TokenUsage]:
    """Cost and usage of a model's prompts, each prefix cached for this long."""
    cache = PrefixCache(card.cache, lifetime)
    cost, total = 0, TokenUsage()
    for prompt in prompts:
        usage = cache.send(prompt) + prompt.generated
        cost, total = cost + _cost(prompt, usage, card), total + usage
    return cost + cache.storage, total


@dataclass(slots=True)
class _Held:
    digest: str
    tokens: int
    until: datetime | None
    """None: for as long as anybody asks."""


class PrefixCache:
    """What a provider would hold of a model's prompts, when they are sent in the order of time.

    A prefix that has grown is taken to have grown at its end: what was held is read, the rest is
    written. A provider that promises no lifetime is taken to keep what it has.
    """

    def __init__(self, rules: CacheRules, lifetime: timedelta | None) -> None:
        self._rules = rules
        self._lifetime = lifetime
        self._held: dict[str, _Held] = {}
        self.storage = 0
        """Pico-dollars for keeping cache objects."""

    def send(self, prompt: Prompt) -> TokenUsage:
        """What a prompt's own tokens would be charged as."""
        if self._rules.caching is Caching.NONE or prompt.prefix < self._rules.least_tokens:
            return TokenUsage(uncached=prompt.prefix + prompt.question)
        held = self._held.get(prompt.key)
        read = 0 if held is None else self._readable(held, prompt)
        written = prompt.prefix - read
        if held is None or written or self._rules.read_extends:
            until = None if self._lifetime is None else prompt.at + self._lifetime
            self._held[prompt.key] = _Held(prompt.digest, prompt.prefix, until)
        if written:
            self.storage += self._hours(prompt)
        return TokenUsage(
            uncached=prompt.question, cache_read=read, **{written_as(self._lifetime): written}
        )

    def _readable(self, held: _Held, prompt: Prompt) -> int:
        if held.until is not None and prompt.at >= held.until:
            return 0
        if held.tokens > prompt.prefix:
            return 0
        if held.digest != prompt.digest and held.tokens == prompt.prefix:
            return 0
        return held.tokens

    def _hours(self, prompt: Prompt) -> int:
        """What it costs to keep an object for its lifetime."""
        if self._rules.caching is not Caching.OBJECT or self._lifetime is None:
            return 0
        seconds = int(self._lifetime.total_seconds())
        return prompt.price.storage * -(-prompt.prefix * seconds // 3_600)


def _cost(prompt: Prompt, usage: TokenUsage, card: ModelCard | None) -> int:
    """Pico-dollars; what is longer than the window is sent in several prompts that fit."""
    longest = usage.prompt if card is None else min(usage.prompt, card.window)
    return prompt.price.rates_for(longest).cost(usage)
