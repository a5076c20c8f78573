"""What is known of a shard's prefix at its provider: hot or cold, as last reported, and why.

Nothing is hot because we think so. After each call the provider's usage decides: a prefix of which
nine tenths were read, or reported as written, is held until the lifetime ends that was asked for.

    unknown --first call--> hot --its lifetime ends--> cold
                             ^---a call reads or writes it---'
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from ifmem.domain.model import (
    CacheRules,
    Caching,
    Completion,
    ModelCall,
    ModelCard,
    Purpose,
    Warming,
)

HELD_SHARE = 0.9
"""Of a prefix that must have been read or written for it to be held."""
STANDS = timedelta(minutes=5)
"""How long a report stands of a provider that promises no time: servers that evict what is least
used keep a prefix over a burst, and nobody knows about more."""
STANDS_IN_PROCESS = timedelta(days=1)
"""The same of the engine in this process, whose slots nobody else uses."""
CACHE_NOT_TOLD = "the server does not report its cache"
"""The ``miss_reason`` of an adapter whose server says nothing, neither of reads nor of misses."""
_NEWEST_WEIGHT = 0.3
"""Of the newest gap between questions."""
_NAMED = frozenset({Caching.OBJECT, Caching.ENGINE})
"""Where a handle says what holds the prefix."""
_QUESTIONS = frozenset({Purpose.ANSWER, Purpose.DISPUTE})


class Heat(StrEnum):
    """Whether the provider holds a prefix."""

    HOT = "hot"
    COLD = "cold"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hotness:
    """A prefix at a provider, as the last calls reported it."""

    model: str
    prefix_sha256: str
    shard: int | None = None
    generation: int | None = None
    caching: Caching = Caching.NONE
    reported: Heat = Heat.UNKNOWN
    hot_until: datetime | None = None
    """None while cold, and where the provider promises no time."""
    why_missed: str | None = None
    """Why the last call that did not read the prefix did not."""
    prefix_tokens: int = 0
    """In the provider's count."""
    read_tokens: int = 0
    """By the last call."""
    lifetime: timedelta | None = None
    """That the last call asked for."""
    handle: str | None = None
    """Of the cache object or engine slot."""
    last_call_at: datetime | None = None
    calls: int = 0
    """That ended well since the prefix was sent first or had last lapsed."""
    last_question_at: datetime | None = None
    last_question_id: str | None = None
    gap: timedelta | None = None
    """Between questions, on average, the newest first; None before the second."""
    pings: int = 0
    """Since the last question."""
    ping_cost: int = 0
    """Pico-dollars of those."""
    storage_id: str | None = None
    """Of the row that accounts for the object's storage since ``storage_from``."""
    storage_from: datetime | None = None
    held_since: datetime | None = None
    """When the object was made."""

    def state(self, at: datetime) -> Heat:
        """Hot never outlives what was promised, nor an unpromised report its time."""
        if self.reported is not Heat.HOT:
            return self.reported
        if self.hot_until is not None:
            return Heat.HOT if at < self.hot_until else Heat.COLD
        return Heat.HOT if self._is_recent(at) else Heat.UNKNOWN

    def why_cold(self, at: datetime) -> str | None:
        """Why it is not hot, for a person; None while it is."""
        state = self.state(at)
        if state is Heat.HOT:
            return None
        if state is self.reported:
            return self.why_missed
        if self.hot_until is not None:
            return f"lapsed {_ago(at - self.hot_until)} ago"
        if self.last_call_at is None:
            return "never asked"
        return (
            f"last reported {_ago(at - self.last_call_at)} ago, and the provider promises no time"
        )

    @property
    def is_object(self) -> bool:
        """A cache object holds it, which is paid by the hour."""
        return self.caching is Caching.OBJECT and self.handle is not None

    def restarted(self) -> Hotness:
        """What stands of it in a new process: promises do, and what others hold."""
        if self.caching is not Caching.ENGINE or self.reported is not Heat.HOT:
            return self
        return replace(self, reported=Heat.UNKNOWN, why_missed="the daemon was started anew")

    def _is_recent(self, at: datetime) -> bool:
        stands = STANDS_IN_PROCESS if self.caching is Caching.ENGINE else STANDS
        return self.last_call_at is not None and at < self.last_call_at + stands


def never_asked(
    model: str, shard: int | None, generation: int | None, prefix_sha256: str
) -> Hotness:
    """Of a prefix that was not sent yet."""
    return Hotness(
        model=model,
        prefix_sha256=prefix_sha256,
        shard=shard,
        generation=generation,
        why_missed="never asked",
    )


def is_readable(hotness: Hotness | None, rules: CacheRules, at: datetime) -> bool:
    """Whether several questions may go at once: the prefix is held, or waiting would not help.

    Where the provider does not say whether it holds a prefix, or cannot hold it, a call that just
    ended well has done all that a first call can.
    """
    if rules.caching is Caching.NONE:
        return True
    if hotness is None:
        return False
    if hotness.state(at) is Heat.HOT:
        return True
    needed = 2 if rules.warming is Warming.TWO_QUESTIONS else 1
    return hotness.calls >= needed and not _is_over(hotness, at)


def after_call(
    before: Hotness | None,
    card: ModelCard,
    call: ModelCall,
    completion: Completion,
    at: datetime,
    *,
    cost: int = 0,
    requests: int = 1,
) -> Hotness:
    """What is known after a call that ended well.

    Args:
        before: of this prefix, else of what the shard's last one was with this model.
        at: when the call began; a lifetime is counted from there, which is never too long.
        cost: pico-dollars of the call.
        requests: that it took, each with another question.
    """
    digest = call.prompt.prefix_sha256
    same = before if before is not None and before.prefix_sha256 == digest else None
    if same is not None and same.last_call_at is not None and at < same.last_call_at:
        # It began before the call that was reported last: it knows less.
        return _counted(same, call, at, cost)
    usage, rules = completion.usage, card.cache
    prefix = _prefix_tokens(rules, call, completion) or (same.prefix_tokens if same else 0)
    was_kept = _is_held(usage.cache_read, prefix) or _is_prolonged(rules, completion)
    is_hot = was_kept or _is_held(usage.cache_read + usage.cache_write, prefix)
    is_hot = is_hot or (rules.caching in _NAMED and completion.handle is not None)
    unsaid = completion.miss_reason == CACHE_NOT_TOLD
    if was_kept:
        why_missed = same.why_missed if same is not None else None
    else:
        why_missed = _why_missed(before, rules, call, completion, at, prefix)
    seen = Hotness(
        model=str(card.ref),
        prefix_sha256=digest,
        shard=call.shard,
        generation=call.generation,
        caching=rules.caching,
        reported=Heat.HOT if is_hot else Heat.UNKNOWN if unsaid else Heat.COLD,
        hot_until=_hot_until(same, rules, call, completion, at) if is_hot else None,
        why_missed=why_missed,
        prefix_tokens=prefix,
        read_tokens=usage.cache_read,
        lifetime=call.lifetime,
        handle=_handle(same, rules, completion),
        last_call_at=at,
        calls=requests + (0 if same is None or _is_over(same, at) else same.calls),
    )
    return _counted(_remembering(before, same, seen), call, at, cost)


def _remembering(before: Hotness | None, same: Hotness | None, seen: Hotness) -> Hotness:
    """With what belongs to the shard, and to an object that is still the same."""
    if before is not None:
        seen = replace(
            seen,
            last_question_at=before.last_question_at,
            last_question_id=before.last_question_id,
            gap=before.gap,
            pings=before.pings,
            ping_cost=before.ping_cost,
        )
    if same is not None and same.handle is not None and same.handle == seen.handle:
        seen = replace(
            seen,
            storage_id=same.storage_id,
            storage_from=same.storage_from,
            held_since=same.held_since,
        )
    return seen


def _counted(hotness: Hotness, call: ModelCall, at: datetime, cost: int) -> Hotness:
    """With the call as a question, which starts the count of pings anew, or as a ping."""
    if call.purpose is Purpose.KEEP_ALIVE:
        return replace(hotness, pings=hotness.pings + 1, ping_cost=hotness.ping_cost + cost)
    last = hotness.last_question_at
    if call.purpose not in _QUESTIONS or (last is not None and at < last):
        return hotness
    asked = replace(
        hotness,
        pings=0,
        ping_cost=0,
        last_question_at=at,
        last_question_id=call.question_id,
    )
    if last is None or (call.question_id and call.question_id == hotness.last_question_id):
        return asked
    known = hotness.gap
    newest = at - last
    return replace(
        asked, gap=newest if known is None else known + _NEWEST_WEIGHT * (newest - known)
    )


def _is_held(tokens: int, prefix: int) -> bool:
    return tokens > 0 and tokens >= HELD_SHARE * prefix


def _is_prolonged(rules: CacheRules, completion: Completion) -> bool:
    """An object's lifetime began anew, which takes no tokens."""
    is_object = rules.caching is Caching.OBJECT and completion.handle is not None
    return is_object and not completion.usage.prompt


def _prefix_tokens(rules: CacheRules, call: ModelCall, completion: Completion) -> int:
    """Tokens up to the boundary: as counted by the provider where it does, else by characters."""
    usage, prompt = completion.usage, call.prompt
    counts = rules.caching is Caching.BREAKPOINT or completion.handle is not None
    if counts and rules.caching is not Caching.ENGINE and usage.cache_read + usage.cache_write:
        return usage.cache_read + usage.cache_write
    before = len(prompt.rules) + len(prompt.documents)
    whole = before + len(prompt.question)
    return round(usage.prompt * before / whole) if whole else 0


def _hot_until(
    same: Hotness | None,
    rules: CacheRules,
    call: ModelCall,
    completion: Completion,
    at: datetime,
) -> datetime | None:
    if completion.cached_until is not None:
        return completion.cached_until
    if not completion.usage.cache_write and not rules.read_extends:
        return same.hot_until if same is not None else None
    if rules.caching is Caching.BREAKPOINT and call.lifetime is not None:
        return at + call.lifetime
    return None


def _handle(same: Hotness | None, rules: CacheRules, completion: Completion) -> str | None:
    if completion.handle is not None or rules.caching is Caching.OBJECT:
        return completion.handle
    return same.handle if same is not None else None


def _is_over(hotness: Hotness, at: datetime) -> bool:
    """What its last call may have left is not there any more."""
    if hotness.last_call_at is None:
        return True
    if hotness.hot_until is not None:
        return at >= hotness.hot_until
    return at >= hotness.last_call_at + (hotness.lifetime or STANDS)


def _why_missed(
    before: Hotness | None,
    rules: CacheRules,
    call: ModelCall,
    completion: Completion,
    at: datetime,
    prefix: int,
) -> str:
    """Why a call did not read the prefix: the reason that comes first in this order holds."""
    if completion.miss_reason == CACHE_NOT_TOLD:
        return CACHE_NOT_TOLD
    if rules.caching is Caching.NONE:
        return "the provider keeps no prefixes"
    if not completion.usage.cache_write and prefix < rules.least_tokens:
        return f"the prefix is shorter than the {rules.least_tokens:,} tokens that are cached"
    if rules.caching is Caching.BREAKPOINT and call.lifetime is None:
        return "the call did not ask for it to be kept"
    if before is None or before.generation != call.generation:
        return "first call of this generation"
    if before.prefix_sha256 != call.prompt.prefix_sha256:
        return "documents were added since the last call"
    if before.reported is Heat.HOT and before.state(at) is not Heat.HOT:
        return str(before.why_cold(at))
    if completion.miss_reason:
        return f"the provider wrote it anew: {completion.miss_reason}"
    if rules.warming is Warming.TWO_QUESTIONS and before.calls < 2:
        return "it is stored once two different questions have shared it"
    if rules.caching is Caching.OBJECT and call.handle is None:
        return "questions come too rarely for a cache object"
    return "the provider no longer held it"


def _ago(passed: timedelta) -> str:
    seconds = max(int(passed.total_seconds()), 0)
    for size, name in ((86_400, "days"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size or (name != "days" and seconds >= size):
            return f"{seconds // size} {name}"
    return f"{seconds} s"
