"""What the account returns: what was spent on what, every baseline, and the rows behind them."""

from __future__ import annotations

import msgspec

from ifmem.wire.answers import Usage


class SpentLine(msgspec.Struct, frozen=True):
    """What a model's calls for one purpose used and cost."""

    model: str
    purpose: str
    background: bool
    """Spent without a question."""
    calls: int
    failed: int
    """Of these, without service and without cost."""
    unknown: int
    """Of these, under way or with an end that was not seen."""
    usage: Usage
    cost_usd: str
    cost_usd_at_most: str
    """If each unknown call cost its bound."""
    storage_token_hours: int = 0
    """Of cache objects that have ended."""


class BaselineShape(msgspec.Struct, frozen=True):
    """The same questions in another way; all but the name is null where that cannot be gone."""

    baseline: str
    cost_usd: str | None
    usage: Usage | None
    saved_usd: str | None
    """What this costs less what was spent; negative when more was spent."""
    saving: float | None
    """1 − spent ÷ cost; null where the baseline costs nothing."""
    saving_at_least: float | None
    """If each unknown call cost its bound."""
    why: str | None = None
    """Why it is not computed."""


class PriceSource(msgspec.Struct, frozen=True):
    """Where a price was read."""

    source: str
    as_of: str


class CostedModel(msgspec.Struct, frozen=True):
    """What the baselines take of a model: from the log, and from what is known of it."""

    model: str
    prices: list[PriceSource]
    """Of its calls, each once, in the order of time."""
    tokens_per_o200k: float
    measured: bool
    """That figure is what providers reported in this log; else what is known of the model."""
    window: int | None
    """Tokens of prompt and answer; null, as all that follows, for a model that is not known any
    more."""
    caching: str | None
    least_tokens: int | None
    """A shorter prefix is not cached."""
    lifetimes_seconds: list[int] | None
    """That can be asked for; empty where the provider promises none."""
    read_extends: bool | None
    """A read starts the lifetime anew."""


class DayLimits(msgspec.Struct, frozen=True):
    """What today allows, in UTC."""

    spent_usd: str
    """On questions; unknown calls at their bound."""
    limit_usd: str
    background_spent_usd: str
    background_limit_usd: str
    resets_at: str


class ProjectedRow(msgspec.Struct, frozen=True):
    """So many questions a day in one way; every figure is made from ``per_query_usd``."""

    name: str
    queries: int
    """A day."""
    per_query_usd: str
    daily_usd: str
    annual_usd: str
    """365 days."""
    saved_daily_usd: str
    """Less than the first row of its table; negative when it is more."""
    saved_annual_usd: str
    saving: float | None
    tokens_per_query: int | None = None
    """As the paper assumes."""
    printed_per_query_usd: str | None = None
    """What the paper prints in section 3.1."""
    printed_daily_usd: str | None = None
    """What the paper prints in section 6.1, for 6,000 queries."""


class InfrastructureRow(msgspec.Struct, frozen=True):
    """A line of the paper's section 6.2, for a month of 30 days."""

    name: str
    monthly_usd: str | None
    printed_monthly_usd: str
    note: str


class Projection(msgspec.Struct, frozen=True):
    """The paper's tables, computed."""

    queries: int
    """A day."""
    measured: list[ProjectedRow]
    """What a question was measured to cost, the mix of questions as it was; the first row is that
    of full re-reading."""
    paper: list[ProjectedRow]
    """The paper's tokens per query at the real prices of now."""
    infrastructure: list[InfrastructureRow]
    infrastructure_monthly_usd: str | None
    """The sum of those rows."""
    paper_model: str
    paper_price: PriceSource | None
    why: str | None = None
    """Why a table is empty."""


class CostReport(msgspec.Struct, frozen=True):
    """The account of a time."""

    since: str | None
    until: str | None
    lines: list[SpentLine]
    usage: Usage
    cost_usd: str
    """Of everything: questions, background, warming, storage."""
    cost_usd_at_most: str
    """If each unknown call cost its bound: the other end of the interval."""
    unknown_calls: int
    background_usd: str
    """Part of ``cost_usd``: spent without a question."""
    storage_usd: str
    """Part of ``cost_usd``: hours of cache objects."""
    questions: int
    """Answered by models: what the baselines are about."""
    cached_answers: int
    """Answered from the answer cache: 0 tokens, and in no baseline."""
    uncalled: int
    """Other questions that no model answered; in no baseline."""
    baselines: list[BaselineShape]
    models: list[CostedModel]
    today: DayLimits
    projection: Projection | None = None


class LoggedRates(msgspec.Struct, frozen=True):
    """Pico-dollars per token of each bucket."""

    uncached: int
    cache_write_5m: int
    cache_write_1h: int
    cache_write_other: int
    cache_read: int
    output: int
    reasoning: int


class LoggedTier(msgspec.Struct, frozen=True):
    """Other rates for every token of a call whose prompt is longer."""

    above: int
    rates: LoggedRates


class LoggedPrice(msgspec.Struct, frozen=True):
    """A price as it held when a call began."""

    rates: LoggedRates
    tiers: list[LoggedTier]
    """By ``above``, ascending; the last that the prompt is longer than holds."""
    storage: int
    """Pico-dollars per token and hour of a cache object."""
    source: str
    as_of: str


class LoggedCall(msgspec.Struct, frozen=True):
    """A row of the ledger, with all that its cost is computed from."""

    call_id: str
    at: str
    state: str
    """``intent``, ``settled``, ``failed`` or ``unknown``."""
    purpose: str
    model: str
    question_id: str | None
    shard: int | None
    generation: int | None
    prompt_name: str
    prompt_version: int
    prefix_sha256: str
    prefix_tokens: int
    """As estimated before the call."""
    question_tokens: int
    """As estimated before the call."""
    prompt_o200k: int
    """o200k tokens of the whole prompt; 0: not counted."""
    bound_pico_usd: int
    price: LoggedPrice
    usage: Usage
    cost_pico_usd: int
    """10⁻¹² US dollar."""
    storage_token_hours: int
    reported_model: str
    first_token_ms: float | None
    total_ms: float | None
    request_id: str | None
    error: str | None
    settled_at: str | None


class LoggedQuestion(msgspec.Struct, frozen=True):
    """What a question would have sent without this memory, in o200k tokens."""

    question_id: str
    at: str
    question_tokens: int
    asked_tokens: int
    """Held by the shards that were asked."""
    corpus_tokens: int
    """Held by all shards."""
    retrieved_tokens: int
    """Of what ``recall`` returns."""
    model: str
    cached_answer: bool


class LedgerEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """A question or a call; exactly one is there."""

    question: LoggedQuestion | None = None
    call: LoggedCall | None = None
