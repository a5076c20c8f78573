"""What a shard's model is shown for one question: the whole shard when it fits, else passages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from ifmem import clock
from ifmem.bus.state import Context, ShardState
from ifmem.domain.model import ModelCard
from ifmem.domain.prompt import Prompt
from ifmem.engine.analysis import terms
from ifmem.engine.evidence import question_weights
from ifmem.engine.shard_answers import ShownDocument, Sought
from ifmem.engine.shard_budgets import most_tokens, o200k_budget
from ifmem.errors import ContextOverflow
from ifmem.index.space_index import Hit, Row, Where
from ifmem.model_settings import ModelSettings
from ifmem.prompts.dispute import dispute
from ifmem.prompts.fencing import FencedDocument
from ifmem.prompts.shard_answer import shard_answer
from ifmem.runtime.question_account import QuestionAccount
from ifmem.runtime.shard_texts import ShardText, excerpts
from ifmem.runtime.space import Space
from ifmem.runtime.understanding import Question
from ifmem.store import contents
from ifmem.wire.answers import CitationShape

MOST_EXCERPT_TOKENS = 16_000
"""o200k tokens of passages that stand for a shard too large for its model: they are paid in full
at every question, and past the best few they answer nothing more."""
LEAST_TOKENS = 256
"""o200k tokens of one passage, about: a model with less room reads nothing."""
_MOST_PASSAGES = 60
_FIRST_OTHER = 100_001
"""Number of the other side's first quote in a dispute: of no document of the shard."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """A question with all that asking a shard takes."""

    space: Space
    question: Question
    models: ModelSettings
    question_id: str
    account: QuestionAccount
    limit: int
    """Pico-dollars that the question may cost."""
    deadline: float
    """Seconds of ``clock.monotonic``."""
    allowed_seconds: float
    """From the beginning to the deadline."""
    hint: int | None
    """The shard that the caller named."""
    hits: tuple[Hit, ...]
    """The best of the space for the question."""
    where: Where | None
    """What the filters leave."""
    digests: frozenset[str] | None
    """Of the documents that the filters leave; None when they leave all."""
    by_passage: bool
    """The filters look at passages, so that no whole shard can be shown."""

    def sought(self, lacking: str = "") -> Sought:
        """The question as evidence is judged by, and what is lacking besides."""
        weights = dict(self.question.weights)
        if lacking:
            weights = question_weights(lacking, self.space.index.idf) | weights
        return Sought(self.question.text, weights, frozenset(terms(lacking)))


@dataclass(frozen=True, slots=True)
class OtherSide:
    """What a shard is shown in a dispute."""

    own: str
    quotes: tuple[CitationShape, ...]


@dataclass(frozen=True, slots=True)
class Shown:
    """What a model reads, and of it what counts for the question."""

    text: ShardText
    whole: bool
    generation: int
    only: tuple[int, ...] | None = None

    @property
    def documents(self) -> Mapping[int, ShownDocument]:
        """Those that count, by number: quotes of others prove nothing here."""
        counted = None if self.only is None else set(self.only)
        return {
            one.number: one.shown
            for one in self.text.documents
            if counted is None or one.number in counted
        }


def prompt_of(
    asking: Asking, card: ModelCard, shown: Shown, lacking: str, other: OtherSide | None
) -> Prompt:
    """What the model is told."""
    documents = shown.text.text if shown.whole else ""
    excerpt = () if shown.whole else tuple(one.fenced for one in shown.text.documents)
    question = asking.question.text
    if other is None:
        return shard_answer(
            documents,
            question,
            structured=card.structured,
            excerpts=excerpt,
            only=shown.only,
            lacking=lacking,
        )
    quotes = [
        FencedDocument(n, one.source, one.sha256 or "", one.quote)
        for n, one in enumerate(other.quotes, start=_FIRST_OTHER)
    ]
    return dispute(
        documents,
        question,
        structured=card.structured,
        own=other.own,
        others=quotes,
        excerpts=excerpt,
        only=shown.only,
    )


async def fitting(
    asking: Asking, state: ShardState, context: Context, card: ModelCard, lacking: str
) -> Shown:
    """The whole shard when it fits the model's budget, else its best passages.

    Raises:
        ContextOverflow: rules, question and answer leave no room for a passage.
    """
    most = budget_of(asking.space, asking.models, state.speciality, card)
    if most < LEAST_TOKENS:
        raise ContextOverflow(
            f"{card.ref} has a window of {card.window:,} tokens, and models.max_output and "
            f"models.quality_cap leave {most:,} of it for documents: name a larger model, or "
            "lower models.max_output",
            needed=LEAST_TOKENS,
            window=card.window,
        )
    if not asking.by_passage and context.tokens <= most:
        # Behind nobody's search when there is nothing to compute.
        text = asking.space.shard_texts.ready(context)
        if text is None:
            text = await asking.space.compute(_whole, asking.space, context)
        if text.tokens <= most:
            only = None if asking.digests is None else text.numbers(asking.digests)
            if only is not None and len(only) == len(text.documents):
                only = None
            return Shown(text, True, context.generation, only)
    return await passages_of(asking, context, min(most, MOST_EXCERPT_TOKENS), lacking)


def budget_of(space: Space, models: ModelSettings, speciality: str, card: ModelCard) -> int:
    """o200k tokens of documents that a prompt of the model may hold."""
    price = space.models.price(str(card.ref), clock.now())
    most = most_tokens(
        card,
        price,
        quality_cap=models.quality_cap,
        max_output=min(models.max_output, card.max_output),
    )
    return o200k_budget(most, space.calibration.factor(card, speciality))


def _whole(space: Space, context: Context) -> ShardText:
    text = space.shard_texts.of(context)
    # Counted here, off the event loop, and kept.
    _ = text.tokens
    return text


async def passages_of(asking: Asking, context: Context, most: int, lacking: str) -> Shown:
    """The passages of a shard that search finds for the question, under a budget."""
    space = asking.space
    within = partial(_is_of_shard, asking.where, context.shard)
    hits = await space.compute(
        space.index.search,
        f"{asking.question.text} {lacking}".strip(),
        where=within,
        limit=_MOST_PASSAGES,
    )
    rows = await space.read(
        partial(contents.passages_by_id, ids=[hit.key for hit in hits if hit.key > 0])
    )
    found = [(row.sha256, row.ordinal) for row in rows.values()]
    text = await space.compute(excerpts, context, found, most=most)
    return Shown(text, False, context.generation)


def _is_of_shard(where: Where | None, shard: int, row: Row) -> bool:
    return row.key > 0 and row.shard == shard and (where is None or where(row))
