"""What a question returns: answers, their citations, and what they cost."""

from __future__ import annotations

from decimal import Decimal

import msgspec


class Usage(msgspec.Struct, frozen=True):
    """Tokens of the model calls, in buckets that never overlap."""

    uncached: int = 0
    cache_write: int = 0
    """The sum of the three below."""
    cache_read: int = 0
    output: int = 0
    """Without ``reasoning``."""
    reasoning: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0
    cache_write_other: int = 0


class CitationShape(msgspec.Struct, frozen=True):
    source: str
    lines: tuple[int, int] | None
    quote: str
    sha256: str | None
    verified: bool
    """The quote was found by code in the source as read."""
    stale: bool = False
    """The source has changed on disk since it was read."""
    finding_id: str | None = None
    locator: str | None = None
    shard: int | None = None
    trust: str = "user"
    """``user``, ``agent`` or ``captured``: who brought what is quoted."""
    author: str | None = None
    """Of a finding, or the speaker of a chat turn; else as ``trust`` says it."""
    time: str | None = None
    """When it was said, or else when its document was last read."""
    session: str | None = None
    """The session that a finding, or an archived document, was stored in."""


class ConsultedShard(msgspec.Struct, frozen=True):
    """What one shard said to a question, and how its model was reached."""

    shard: int
    model: str
    """As configured; after a fall-back the one that answered."""
    found: bool
    whole: bool
    """The model read the whole shard; else the passages that fit its window."""
    hot: bool
    """The provider reported that it read the shard's prefix from its cache."""
    why_cold: str | None = None
    confidence: float = 0.0
    """By code, from verified quotes; what a model says of itself is not taken."""
    missing: str | None = None
    """What the shard says it lacks for a full answer."""
    unverified: int = 0
    """Quotes and ids of the model that code did not find: dropped."""
    rounds: int = 1
    fell_back_from: list[str] = []
    error: str | None = None


class Side(msgspec.Struct, frozen=True):
    """One side of a disagreement."""

    shard: int
    claim: str
    citations: list[int]
    """Numbers in the answer's list, from 1."""


class Disagreement(msgspec.Struct, frozen=True):
    """Shards whose verified findings do not go together, after each saw the other's quote."""

    sides: list[Side]


class Estimate(msgspec.Struct, frozen=True):
    """What a question would cost, without a call."""

    shards_asked: list[int]
    models: list[str]
    """Of each shard asked, in that order."""
    prompt_tokens: int
    """In the models' own counts, summed."""
    hot_tokens: int
    """Of these, expected to be read from caches, by what providers last reported."""
    expected_usd: str
    """If what was last reported hot still is, and each answer has a typical length."""
    at_most_usd: str
    """If nothing is hot, every round is needed and every answer is as long as allowed."""
    allowed_usd: str
    """The least of the limits that hold: of the question and of what is left today."""
    within: bool
    """``at_most_usd`` does not pass ``allowed_usd``."""
    prices: list[str]
    """Model, source and date of each price."""
    query_id: str = ""


class PassedOver(msgspec.Struct, frozen=True):
    """A librarian that did not answer, and why."""

    librarian: int
    model: str
    reason: str
    resets_at: str | None = None
    """When it may be asked again, as far as known."""


class Answer(msgspec.Struct, frozen=True):
    """An answer, or the honest absence of one."""

    answer: str | None
    found: bool
    citations: list[CitationShape]
    shards_asked: list[int]
    shards_missing: list[int]
    model: str
    usage: Usage
    cost_usd: str
    """Decimal, in US dollars."""
    elapsed_ms: float
    query_id: str
    routing: str = ""
    """Why these shards were asked, in one sentence."""
    confidence: float = 0.0
    """0..1, by code: verified share, agreement and routing."""
    missing: str | None = None
    """What is lacking for a full answer, when a shard said so."""
    shards: list[ConsultedShard] = []
    disagreements: list[Disagreement] = []
    unverified: int = 0
    """Quotes, ids and sentences of models that code could not support: dropped."""
    rounds: int = 1
    cached: bool = False
    """From the answer cache: the same question to the same shards, unchanged; no call was made."""
    librarian: int | None = None
    """Who answered from the archive; None: what is live answered, or nobody was asked."""
    passed_over: list[PassedOver] = []
    """Librarians that were to answer before that one, and did not."""

    @property
    def text(self) -> str | None:
        """The answer's text; None when nothing supports one."""
        return self.answer

    @property
    def cost(self) -> Decimal:
        """What the model calls cost, in US dollars."""
        return Decimal(self.cost_usd)


class ShardAnswer(msgspec.Struct, frozen=True):
    """What the holder of one shard answered."""

    shard: int
    answer: str | None
    found: bool
    confidence: float
    sources: list[str]
    """``path:line-line``."""
    tokens_used: int
    """Of model calls."""
    context_size: int
    """o200k tokens that the shard holds."""


class QueryAnswer(msgspec.Struct, frozen=True):
    """What the holders of the shards answered; ``answer`` is the surest that found something."""

    query_id: str
    answer: str | None
    found: bool
    sources: list[str]
    shards_missing: list[int]
    """Shards that nobody answered for in time."""
    responses: list[ShardAnswer]
    """In the order in which they came; without ``gather`` the one that ended it."""
    elapsed_ms: float
