"""What is known of models before they are called: a dated table, read 2026-11-23.

Rows are patterns of families, so that a new id of a known family is known too; the first that
matches counts. What no row says is taken low: a window too small wastes room, one too large fails.

Sources, by the letter at the row:
    A  platform.claude.com: models overview, prompt caching (minimum, lifetimes, 20-block rule)
    C  ctok 1.3.0 against o200k on 200 KB of code, English and Markdown: which tokeniser a family
       has, and how many tokens it makes; 5.x models are not stated and taken as the newest known
    G  genai-prices 0.2.3, ``context_window`` and comments
    O  developers.openai.com: prompt caching; openai 3.54 (``prompt_cache_options``)
    V  ai.google.dev: caching, minimums as of 2026-07; google-genai 3.4 (``CreateCachedContent``)
    D  api-docs.deepseek.com: context caching (prefix units), models
    ?  not stated anywhere we read; a careful guess
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType

from ifmem.domain.model import CacheRules, Caching, ModelCard, ModelRef, Warming
from ifmem.model_settings import ProviderEntry

UNKNOWN_WINDOW = 32_768
"""Of a server of your own that does not say (``providers.window``)."""

_MINUTES_5 = timedelta(minutes=5)
_MINUTES_30 = timedelta(minutes=30)
_HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Family:
    pattern: str
    window: int
    max_output: int
    factor: float
    """Its tokens for one o200k token."""
    least: int = 0
    """Tokens below which a prefix is not cached."""
    lifetimes: tuple[timedelta, ...] = ()
    structured: bool = True
    objects: bool = False
    """Explicit cache objects exist; they are made only where their hour has a price."""


def _claude(
    pattern: str, *, window: int, least: int, factor: float = 1.65, structured: bool = True
) -> _Family:
    """The lifetimes are 5 minutes and 1 hour on every model [A]; outputs of 64,000 are taken by
    all that are sold [?]; v4.8's factor is 1.53 to 1.62 and rounded up [C]."""
    return _Family(
        pattern=pattern,
        window=window,
        max_output=64_000,
        factor=factor,
        least=least,
        lifetimes=(_MINUTES_5, _HOUR),
        structured=structured,
    )


def _gpt(
    pattern: str,
    *,
    window: int,
    max_output: int = 128_000,
    factor: float = 1.0,
    lifetimes: tuple[timedelta, ...] = (),
    structured: bool = True,
) -> _Family:
    """Every model caches from 1,024 tokens on; a lifetime can be asked for since 5.6 [O]."""
    return _Family(
        pattern=pattern,
        window=window,
        max_output=max_output,
        factor=factor,
        least=1_024,
        lifetimes=lifetimes,
        structured=structured,
    )


def _gemini(pattern: str, *, window: int, least: int = 4_096, objects: bool = True) -> _Family:
    """Any lifetime can be asked for an object [V]; 65,536 tokens of output and the factor are
    unverified [?]."""
    return _Family(
        pattern=pattern,
        window=window,
        max_output=65_536,
        factor=1.15,
        least=least,
        lifetimes=(_MINUTES_5, _HOUR),
        objects=objects,
    )


def _deepseek(pattern: str, *, window: int) -> _Family:
    """o200k and 6.4 % [C]; it takes JSON and no schema, and 8,192 tokens of output [?]."""
    return _Family(pattern=pattern, window=window, max_output=8_192, factor=1.08, structured=False)


_FAMILIES: Mapping[str, tuple[_Family, ...]] = MappingProxyType(
    {
        "anthropic": (
            _claude(r"claude-haiku-4-5", window=200_000, least=4_096, factor=1.22),  # A C G
            _claude(r"claude-sonnet-4-6", window=1_000_000, least=1_024, factor=1.22),  # A C G
            _claude(r"claude-opus-4-6", window=1_000_000, least=4_096, factor=1.22),  # C G; least ?
            _claude(r"claude-opus-4-[78]", window=1_000_000, least=4_096),  # C G; least ?
            _claude(r"claude-(opus|sonnet)-4-5", window=200_000, least=4_096, factor=1.22),  # C G
            _claude(r"claude-sonnet-5(-\d{8})?$", window=1_000_000, least=1_024),  # A C G
            _claude(
                r"claude-(haiku|sonnet|opus)-5-5", window=1_000_000, least=512
            ),  # A G; factor ?
            _claude(r"claude-(fable|mythos|opus)-5", window=1_000_000, least=4_096),  # C G; least ?
            _claude(
                r"claude-(v?[123]|opus-4|sonnet-4)",
                window=200_000,
                least=4_096,
                factor=1.22,
                structured=False,
            ),  # C G; the rest ?
            _claude(r"claude-", window=200_000, least=4_096),  # ?
        ),
        "openai": (
            _gpt(r"gpt-6", window=1_050_000, lifetimes=(_MINUTES_30,)),  # G O
            _gpt(r"gpt-5\.6", window=1_050_000, lifetimes=(_MINUTES_30,)),  # G O
            _gpt(r"gpt-5\.5", window=1_000_000),  # G O
            _gpt(r"gpt-5\.4(-pro)?(-\d{4}-\d\d-\d\d)?$", window=1_050_000),  # G O
            _gpt(r"gpt-5\.3(?!-codex)", window=128_000, max_output=16_384),  # G; output ?
            _gpt(r"gpt-5", window=400_000),  # G O
            _gpt(r"gpt-4\.1", window=1_000_000, max_output=32_768),  # G; output ?
            _gpt(r"(chat)?gpt-4o", window=128_000, max_output=16_384),  # G; output ?
            _gpt(r"o1-(mini|preview)", window=128_000, max_output=32_768),  # G; output ?
            _gpt(r"o[134]", window=200_000, max_output=65_536),  # G; output ?
            _gpt(
                r"gpt-4-turbo", window=128_000, max_output=4_096, factor=1.1, structured=False
            ),  # G; the rest ?
            _gpt(
                r"gpt-(4|3)", window=8_192, max_output=4_096, factor=1.1, structured=False
            ),  # G; the rest ?
            _gpt(r"gpt-[7-9]", window=400_000, lifetimes=(_MINUTES_30,)),  # ?
            _gpt(r"", window=128_000, max_output=4_096, factor=1.2),  # ?
        ),
        "gemini": (
            _gemini(r"gemini-4-argon", window=1_000_000, objects=False),  # G V: implicit only
            _gemini(r"gemini-3\.[5-9]-flash(-lite)?$", window=1_000_000),  # G V
            _gemini(r"gemini-3(\.1)?-flash", window=1_000_000),  # G; least ?
            _gemini(r"gemini-3\.1-pro", window=200_000),  # V; window ?
            _gemini(r"gemini-2\.5-(flash|pro)", window=1_000_000, least=2_048),  # G V
            _gemini(r"gemini-(2\.0|1\.5)-", window=1_000_000),  # G; least ?
            _gemini(r"gemini-[3-9]", window=128_000, objects=False),  # ?
            _gemini(r"", window=UNKNOWN_WINDOW, objects=False),  # ?
        ),
        "deepseek": (
            _deepseek(r"deepseek-(flash|v4)", window=1_000_000),  # D G
            _deepseek(r"deepseek-v3", window=128_000),  # G
            _deepseek(r"", window=64_000),  # G, of deepseek-chat and deepseek-reasoner
        ),
    }
)

_OWN = _Family(pattern="", window=UNKNOWN_WINDOW, max_output=8_192, factor=1.3, structured=False)
"""A server of your own, with whatever model: nothing of it is known [?]."""


def family_of(provider: ProviderEntry) -> str:
    """Whose models and caching rules a provider has: a vendor's name, or "" for your own."""
    if provider.protocol in {"anthropic", "gemini"}:
        return provider.protocol
    return provider.vendor if provider.vendor in _FAMILIES else ""


def card_of(ref: ModelRef, provider: ProviderEntry, *, storable: bool = False) -> ModelCard:
    """What is known of a provider's model.

    Args:
        storable: the hour of a cache object has a known price, so one may be made.
    """
    name = family_of(provider)
    family = _family(name, ref.model.lower())
    window = provider.window or family.window
    structured = family.structured if provider.structured is None else provider.structured
    return ModelCard(
        ref=ref,
        window=window,
        max_output=min(family.max_output, window // 2),
        cache=_rules(name, family, objects=family.objects and storable),
        tokens_per_o200k=family.factor,
        structured=structured,
    )


def _family(name: str, model: str) -> _Family:
    for family in _FAMILIES.get(name, ()):
        if re.match(family.pattern, model):
            return family
    # A name that is none of the vendor's: some other model behind the same protocol.
    return _OWN


def _rules(name: str, family: _Family, *, objects: bool) -> CacheRules:
    if name == "anthropic" and family is not _OWN:
        return CacheRules(
            caching=Caching.BREAKPOINT,
            warming=Warming.ZERO_TOKENS,
            least_tokens=family.least,
            lifetimes=family.lifetimes,
        )
    if name == "gemini" and objects:
        # Reading an object does not move its end.
        return CacheRules(
            caching=Caching.OBJECT,
            warming=Warming.CREATE,
            least_tokens=family.least,
            lifetimes=family.lifetimes,
            read_extends=False,
        )
    return CacheRules(
        caching=Caching.IMPLICIT,
        warming=Warming.TWO_QUESTIONS if name == "deepseek" else Warming.FIRST_CALL,
        least_tokens=family.least,
        lifetimes=() if name == "gemini" else family.lifetimes,
    )
