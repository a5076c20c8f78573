"""Whether to keep a prefix alive, and how: like renting skis until the rent has cost a pair.

Nobody knows when the next question comes. A ping costs one read and starts the lifetime anew, a
lapse costs one write at the next question; who pings until the pings since the last question have
cost one write, and then lets go, never pays more than twice what foresight would have paid.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from ifmem.domain.model import CacheRules, Caching
from ifmem.domain.price import Price, Rates
from ifmem.engine.hotness import HELD_SHARE, Heat, Hotness

_HOUR = timedelta(hours=1)
_LEAD_SHARE = 0.1
"""Of a lifetime, that a ping comes before its end."""
PING_OUTPUT = 16
"""Tokens that a ping generates at most."""


class Step(StrEnum):
    """What is done for a prefix."""

    WAIT = "wait"
    PING = "ping"
    """Have its lifetime begin anew: by a read, or by prolonging its object."""
    LET_GO = "let go"
    """Nothing more until the next question."""
    DROP = "drop"
    """Its object has ended or is to end: it is deleted and its storage accounted for."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The next step, and until when to wait for it."""

    step: Step
    until: datetime | None = None
    """Of ``WAIT``: when to look again."""


def plan(hotness: Hotness, price: Price | None, rules: CacheRules, at: datetime) -> Plan:
    """What is to be done for a prefix now.

    What costs nothing, or promises no time, or does not live longer for being read, is let go.
    """
    if hotness.is_object:
        return _plan_object(hotness, price, at)
    until = hotness.hot_until
    if until is None or hotness.state(at) is not Heat.HOT or price is None:
        return Plan(Step.LET_GO)
    if not rules.read_extends:
        return Plan(Step.LET_GO)
    if hotness.ping_cost + ping_cost(hotness, price) > rewrite_cost(hotness, price):
        return Plan(Step.LET_GO)
    return _shortly_before(until, hotness, at)


def rewrite_cost(hotness: Hotness, price: Price) -> int:
    """Pico-dollars of writing the prefix once more."""
    rates = price.rates_for(hotness.prefix_tokens)
    return hotness.prefix_tokens * _write_rate(rates, hotness.lifetime)


def ping_cost(hotness: Hotness, price: Price) -> int:
    """Pico-dollars of reading the prefix once; at least 1, so that free pings end too."""
    rates = price.rates_for(hotness.prefix_tokens)
    return max(1, hotness.prefix_tokens * rates.cache_read + PING_OUTPUT * rates.output)


def lifetime_for(rules: CacheRules, hotness: Hotness | None, at: datetime) -> timedelta | None:
    """Which lifetime to ask for; None where none can be.

    The shortest that outlasts the gaps between questions; the shortest of all when none does, since
    then every question writes anew. A hot prefix keeps the one it was written for: another would
    be another entry.
    """
    if not rules.lifetimes:
        return None
    if rules.caching is Caching.OBJECT:
        return rules.lifetimes[-1]
    if hotness is None:
        return rules.lifetimes[0]
    if hotness.state(at) is Heat.HOT and hotness.lifetime in rules.lifetimes:
        return hotness.lifetime
    gap = hotness.gap or timedelta()
    return next((one for one in rules.lifetimes if gap <= one), rules.lifetimes[0])


def object_pays(hotness: Hotness | None, price: Price | None, rules: CacheRules) -> bool:
    """Whether a cache object costs less over an hour than sending the prefix with each question.

    Judged by the gaps between questions so far: before the second nobody knows, and none is made.
    """
    if hotness is None or price is None or rules.caching is not Caching.OBJECT:
        return False
    if not hotness.gap or not price.storage or hotness.prefix_tokens < rules.least_tokens:
        return False
    if hotness.handle is None and hotness.read_tokens >= HELD_SHARE * hotness.prefix_tokens:
        # The provider found the prefix again by itself, and keeps it at no charge.
        return False
    rates = price.rates_for(hotness.prefix_tokens)
    questions = _HOUR / hotness.gap
    saved = questions * (rates.uncached - rates.cache_read)
    return saved > price.storage + _write_rate(rates, None)


def storage_token_hours(tokens: int, since: datetime, until: datetime) -> int:
    """Token-hours of an object, rounded up."""
    microseconds = max(until - since, timedelta()) // timedelta(microseconds=1)
    return -(-tokens * microseconds // (_HOUR // timedelta(microseconds=1)))


def _plan_object(hotness: Hotness, price: Price | None, at: datetime) -> Plan:
    until = hotness.hot_until
    if until is None or at >= until or price is None:
        return Plan(Step.DROP)
    enough = _paid_off(hotness, price)
    if enough is not None and at >= enough:
        return Plan(Step.DROP)
    if enough is not None and enough <= until:
        return Plan(Step.WAIT, enough)
    return _shortly_before(until, hotness, at)


def _paid_off(hotness: Hotness, price: Price) -> datetime | None:
    """When storage since the last question has cost what making it anew would; None: never."""
    idle_since = max(
        (one for one in (hotness.last_question_at, hotness.held_since) if one is not None),
        default=None,
    )
    if not price.storage or idle_since is None:
        return None
    rates = price.rates_for(hotness.prefix_tokens)
    return idle_since + _HOUR * (_write_rate(rates, None) / price.storage)


def _shortly_before(until: datetime, hotness: Hotness, at: datetime) -> Plan:
    ping_at = until - _LEAD_SHARE * (hotness.lifetime or timedelta(minutes=5))
    return Plan(Step.PING) if at >= ping_at else Plan(Step.WAIT, ping_at)


def _write_rate(rates: Rates, lifetime: timedelta | None) -> int:
    if lifetime == timedelta(minutes=5):
        return rates.cache_write_5m
    if lifetime == _HOUR:
        return rates.cache_write_1h
    return max(rates.uncached, rates.cache_write_other)
