"""`ifmem costs`: every printed figure is computed anew from the raw log, by other arithmetic."""

from __future__ import annotations

import json
import random
from collections import defaultdict
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal, localcontext
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ifmem import Memory
from ifmem.domain.ledger import AskedQuestion, CallState, LedgerRow
from ifmem.domain.model import Completion, Purpose, Stop
from ifmem.domain.price import Price, Rates, Tier
from ifmem.domain.usage import TokenUsage
from ifmem.engine.budgets import Limits
from ifmem.settings import read_settings
from ifmem.store import ledger
from ifmem.store.database import Database

MORNING = datetime(2026, 1, 2, 8, tzinfo=UTC)
PICO = Decimal(10) ** 12
HAIKU, LUNA, FLASH = (
    "anthropic:claude-haiku-5-5",
    "openai:gpt-6-luna",
    "gemini:gemini-3.8-flash",
)
NO_LIMIT = Limits(question=None, day=10**18, background=10**18)


def priced(source: str, *dollars: str, storage: str = "0") -> Price:
    """Dollars for a million tokens: read anew, written, read from a cache, generated."""
    uncached, written, read, output = (int(Decimal(one) * 10**6) for one in dollars)

    def rates(times: int) -> Rates:
        return Rates(
            uncached=uncached * times,
            cache_write_5m=written * times,
            cache_write_1h=written * times * 2,
            cache_write_other=written * times,
            cache_read=read * times,
            output=output * times,
            reasoning=output * times,
        )

    return Price(
        rates=rates(1),
        tiers=(Tier(above=60_000, rates=rates(5)),),
        storage=int(Decimal(storage) * 10**6),
        source=source,
        as_of="2026-01-01",
    )


PRICES = {
    HAIKU: priced("made up for this test", "0.10", "0.125", "0.01", "0.50"),
    LUNA: priced("made up for this test", "0.12", "0.15", "0.013", "0.55"),
    FLASH: priced("another list", "0.75", "0.75", "0.075", "3.75", storage="0.50"),
}


class Log:
    """Writes an account into a store that no daemon has open."""

    def __init__(self, home: Path, space: str) -> None:
        directory = home / "spaces" / space
        directory.mkdir(parents=True)
        self._database = Database(directory / "store.sqlite")
        self._written: list[Future[Any]] = []
        self._calls = 0

    def close(self) -> None:
        for one in self._written:
            one.result()
        self._database.close()

    def call(
        self,
        at: datetime,
        usage: TokenUsage | None,
        *,
        question: str | None = None,
        model: str = HAIKU,
        purpose: Purpose = Purpose.ANSWER,
        state: CallState = CallState.SETTLED,
        **given: Any,
    ) -> None:
        """A call that ended in this state."""
        self._calls += 1
        price = PRICES[model]
        row = LedgerRow(
            call_id=f"call-{self._calls}",
            at=stamp(at),
            state=CallState.INTENT,
            purpose=purpose,
            model=model,
            question_id=question,
            prompt_name="shard_answer",
            prompt_version=1,
            bound=400_000_000_000,
            price=price,
            **{
                "shard": None,
                "generation": 1,
                "prefix_sha256": "aa",
                "prefix_tokens": 0,
                "question_tokens": 0,
                **given,
            },
        )
        self._write(partial(ledger.intend, row=row, limits=NO_LIMIT))
        if state is CallState.FAILED:
            self._write(partial(ledger.fail, call_id=row.call_id, error="x", at=stamp(at)))
        if state is CallState.UNKNOWN:
            self._write(partial(ledger.lose, call_id=row.call_id, error="x", at=stamp(at)))
        if state is CallState.SETTLED:
            assert usage is not None
            done = Completion(
                text="",
                stop=Stop.END,
                usage=usage,
                model=model,
                first_token_ms=1.0,
                total_ms=2.0,
            )
            cost = price.cost(usage) + price.storage * row.storage_token_hours
            self._write(
                partial(
                    ledger.settle,
                    call_id=row.call_id,
                    completion=done,
                    cost=cost,
                    at=stamp(at),
                )
            )

    def question(self, name: str, at: datetime, **given: Any) -> None:
        fields = {"question_tokens": 12, "model": HAIKU, **given}
        asked = AskedQuestion(question_id=name, at=stamp(at), **fields)
        self._write(partial(ledger.record_question, question=asked))

    def _write(self, work: Callable[[Any], object]) -> None:
        self._written.append(self._database.write(work))


def stamp(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def fill(log: Log, *, unknown: bool = True, corpus: int = 180_000) -> None:
    """Sixty questions of all kinds to three models, with what goes on beside them."""
    chance = random.Random(7)
    at = MORNING
    for number in range(60):
        at += timedelta(seconds=chance.choice([20, 200, 290, 600, 4_000]))
        name = f"question-{number}"
        corpus += chance.choice([0, 0, 0, 900])
        if number % 11 == 10:
            log.question(
                name, at, asked_tokens=9, corpus_tokens=9, retrieved_tokens=9, cached_answer=True
            )
            continue
        shards = chance.sample([1, 2, 3], chance.choice([1, 1, 2, 3]))
        asked = 0
        for place, shard in enumerate(shards):
            held = (22_000, 48_000, 3_100)[shard - 1] + (number // 20) * 500
            asked += held
            prefix = held * 13 // 10
            read = chance.random() < 0.6
            log.call(
                at,
                TokenUsage(
                    uncached=chance.randint(12, 30),
                    cache_read=prefix if read else 0,
                    cache_write_1h=0 if read else prefix,
                    output=chance.randint(20, 300),
                    reasoning=chance.choice([0, 90]),
                ),
                question=name,
                shard=shard,
                model=(HAIKU, LUNA, FLASH)[shard - 1],
                prefix_sha256=f"{shard}-{number // 20}",
                prefix_tokens=prefix,
                prompt_o200k=held + 15,
                state=chance.choice([CallState.FAILED, CallState.UNKNOWN])
                if place and unknown and number % 7 == 3
                else CallState.SETTLED,
            )
        if len(shards) > 1:
            log.call(
                at,
                TokenUsage(uncached=400, output=120),
                question=name,
                purpose=Purpose.SYNTHESIS,
                model=LUNA,
                prompt_o200k=380,
            )
        if number % 9 == 4:
            log.call(
                at,
                TokenUsage(cache_read=20_000, uncached=90, output=33),
                question=name,
                purpose=Purpose.DISPUTE,
                shard=shards[0],
                prompt_o200k=16_000,
            )
        log.question(
            name,
            at,
            asked_tokens=asked,
            corpus_tokens=corpus,
            retrieved_tokens=chance.randint(300, 1_900),
        )
        if number % 5 == 0:
            log.call(at, TokenUsage(cache_read=28_600), purpose=Purpose.KEEP_ALIVE, shard=1)
            log.call(
                at,
                TokenUsage(cache_write_1h=28_600, output=1),
                purpose=Purpose.WARM,
                question=name,
                shard=1,
            )
    log.call(
        at,
        TokenUsage(),
        purpose=Purpose.STORAGE,
        model=FLASH,
        storage_token_hours=31_000,
    )
    log.question("of sentences", at, asked_tokens=5, corpus_tokens=5, retrieved_tokens=5)


@pytest.fixture
def log(ifmem: Any) -> Iterable[Log]:
    with closing(Log(ifmem.home, ifmem.space)) as opened:
        yield opened


# The same figures from the JSON ifmem. Nothing of ifmem is used below this line.


def usd(pico: Decimal) -> Decimal:
    return pico / PICO


def to_nearest(number: Decimal) -> Decimal:
    return number.quantize(Decimal(1), ROUND_HALF_UP)


def rates_of(price: Any, prompt: Decimal) -> dict[str, Decimal]:
    rates = price["rates"]
    for tier in price["tiers"]:
        if prompt > tier["above"]:
            rates = tier["rates"]
    return {name: Decimal(rate) for name, rate in rates.items()}


BUCKETS = (
    *("uncached", "cache_write_5m", "cache_write_1h", "cache_write_other", "cache_read"),
    *("output", "reasoning"),
)
READING = BUCKETS[:5]


def cost_of(price: Any, usage: dict[str, Decimal], longest: int | None = None) -> Decimal:
    prompt = sum((usage.get(name, Decimal(0)) for name in READING), Decimal(0))
    rates = rates_of(price, prompt if longest is None else min(prompt, Decimal(longest)))
    return sum((rates[name] * usage.get(name, Decimal(0)) for name in BUCKETS), Decimal(0))


class Recomputed:
    """Every figure of the report, from the rows and what the report says of the models."""

    def __init__(self, entries: list[Any], models: list[Any]) -> None:
        self.calls = [entry["call"] for entry in entries if "call" in entry]
        self.asked = [entry["question"] for entry in entries if "question" in entry]
        self.models = {one["model"]: one for one in models}
        self.ratios = {name: self._ratio(name) for name in self.models}
        self.spent = sum((Decimal(one["cost_pico_usd"]) for one in self.calls), Decimal(0))
        self.at_most = self.spent + sum(
            Decimal(one["bound_pico_usd"])
            for one in self.calls
            if one["state"] in ("intent", "unknown")
        )
        self.answered = [one for one in self.asked if self._is_answered(one)]

    def _ratio(self, model: str) -> Decimal:
        measuring = [
            one
            for one in self.calls
            if one["model"] == model
            and one["state"] == "settled"
            and one["purpose"] in ("answer", "dispute", "synthesis")
            and one["prompt_o200k"]
        ]
        if not measuring:
            return Decimal(str(self.models[model]["tokens_per_o200k"]))
        reported = sum(one["usage"][name] for one in measuring for name in READING)
        return Decimal(reported) / sum(one["prompt_o200k"] for one in measuring)

    def _of(self, question: Any) -> list[Any]:
        return [one for one in self.calls if one["question_id"] == question["question_id"]]

    def _is_answered(self, question: Any) -> bool:
        return not question["cached_answer"] and any(
            one["purpose"] == "answer" and one["state"] in ("settled", "unknown")
            for one in self._of(question)
        )

    def parts(self, question: Any) -> list[tuple[Any, Decimal]]:
        """The call of each shard that was served, with the shard's tokens in its own model's."""
        answers = [one for one in self._of(question) if one["purpose"] == "answer"]
        weight = {one["shard"]: one["prefix_tokens"] / self.ratios[one["model"]] for one in answers}
        whole = sum(weight.values())
        return [
            (
                one,
                to_nearest(
                    question["asked_tokens"]
                    * weight[one["shard"]]
                    / whole
                    * self.ratios[one["model"]]
                ),
            )
            for one in answers
            if one["state"] in ("settled", "unknown")
        ]

    def words(self, calls: Iterable[Any]) -> dict[str, Decimal]:
        told = [one for one in calls if one["purpose"] in ("answer", "dispute", "synthesis")]
        return {
            name: sum((Decimal(one["usage"][name]) for one in told), Decimal(0))
            for name in ("output", "reasoning")
        }

    def joining(self, question: Any) -> Decimal:
        """What was generated for the question beside the answers of its shards."""
        served = {one["shard"] for one, _ in self.parts(question)}
        beside = [one for one in self._of(question) if one["shard"] not in served]
        return sum(
            (
                cost_of(
                    {"rates": rates_of(one["price"], self.prompt(one)), "tiers": []},
                    self.words([one]),
                )
                for one in beside
            ),
            Decimal(0),
        )

    def prompt(self, call: Any) -> Decimal:
        return Decimal(sum(call["usage"][name] for name in READING))

    def shard_prompts(self) -> list[Any]:
        """Key, time, digest, model, price, prefix, question and words of each part."""
        return [
            (
                f"{one['model']} {one['shard']}",
                datetime.fromisoformat(question["at"]),
                one["prefix_sha256"],
                one["model"],
                one["price"],
                tokens,
                to_nearest(question["question_tokens"] * self.ratios[one["model"]]),
                self.words(c for c in self._of(question) if c["shard"] == one["shard"]),
            )
            for question in self.answered
            for one, tokens in self.parts(question)
        ]

    def single_prompts(self, held: str) -> list[Any]:
        """The same of one prompt for the whole question."""
        found = []
        for question in self.answered:
            parts = self.parts(question)
            most: dict[str, Decimal] = defaultdict(Decimal)
            for one, tokens in parts:
                most[one["model"]] += tokens
            model = max(sorted(most), key=lambda name: most[name])
            price = next(one["price"] for one, _ in parts if one["model"] == model)
            found.append(
                (
                    model,
                    datetime.fromisoformat(question["at"]),
                    "",
                    model,
                    price,
                    to_nearest(question[held] * self.ratios[model]),
                    to_nearest(question["question_tokens"] * self.ratios[model]),
                    self.words(self._of(question)),
                )
            )
        return found

    def uncached(self, prompts: list[Any]) -> Decimal:
        return sum(
            (
                cost_of(price, {"uncached": prefix + asked, **words}, self.models[model]["window"])
                for _, _, _, model, price, prefix, asked, words in prompts
            ),
            Decimal(0),
        )

    def cached(self, prompts: list[Any]) -> Decimal:
        total = Decimal(0)
        for model in {prompt[3] for prompt in prompts}:
            own = [prompt for prompt in prompts if prompt[3] == model]
            lifetimes = self.models[model]["lifetimes_seconds"] or [None]
            total += min(self._replayed(own, self.models[model], seconds) for seconds in lifetimes)
        return total

    def _replayed(self, prompts: list[Any], rules: Any, seconds: int | None) -> Decimal:
        bucket = {300: "cache_write_5m", 3_600: "cache_write_1h"}.get(
            seconds or 0, "cache_write_other"
        )
        entries: dict[str, Any] = {}
        total = Decimal(0)
        for key, at, digest, _, price, prefix, asked, words in prompts:
            usage = {"uncached": asked, **words}
            if rules["caching"] == "none" or prefix < rules["least_tokens"]:
                usage["uncached"] += prefix
            else:
                entry = entries.get(key)
                alive = entry is not None and (seconds is None or at < entry["until"])
                fits = alive and (
                    entry["tokens"] < prefix
                    or (entry["tokens"] == prefix and entry["digest"] == digest)
                )
                usage["cache_read"] = entry["tokens"] if fits else Decimal(0)
                usage[bucket] = prefix - usage["cache_read"]
                if usage[bucket] or rules["read_extends"]:
                    until = at + timedelta(seconds=seconds or 0)
                    entries[key] = {"until": until, "tokens": prefix, "digest": digest}
                if usage[bucket] and rules["caching"] == "object":
                    hours = -(-int(prefix) * seconds // 3_600)  # type: ignore[operator]
                    total += hours * price["storage"]
            total += cost_of(price, usage, rules["window"])
        return total

    def baselines(self) -> dict[str, Decimal | None]:
        joining = sum((self.joining(one) for one in self.answered), Decimal(0))
        shards, corpus = self.shard_prompts(), self.single_prompts("corpus_tokens")
        fits = all(
            prefix + asked + sum(words.values()) <= self.models[model]["window"]
            for _, _, _, model, _, prefix, asked, words in corpus
        )
        return {
            "reread": self.uncached(shards) + joining,
            "reread_cached": self.cached(shards) + joining,
            "one_window": self.cached(corpus) if fits else None,
            "retrieval": self.uncached(self.single_prompts("retrieved_tokens")),
        }


def check(report: Any, entries: list[Any]) -> Recomputed:
    """Compare every figure of a report with the same one made from the rows."""
    own = Recomputed(entries, report["models"])
    assert Decimal(report["cost_usd"]) == usd(own.spent)
    assert Decimal(report["cost_usd_at_most"]) == usd(own.at_most)
    for one in own.calls:
        if one["state"] == "settled":
            stored = Decimal(one["price"]["storage"]) * one["storage_token_hours"]
            assert one["cost_pico_usd"] == cost_of(one["price"], one["usage"]) + stored
        else:
            assert one["cost_pico_usd"] == 0
    for line in report["lines"]:
        rows = [
            one
            for one in own.calls
            if (one["model"], one["purpose"]) == (line["model"], line["purpose"])
        ]
        assert line["calls"] == len(rows)
        assert Decimal(line["cost_usd"]) == usd(Decimal(sum(o["cost_pico_usd"] for o in rows)))
        for name in BUCKETS:
            assert line["usage"][name] == sum(one["usage"][name] for one in rows)
    for name in BUCKETS:
        assert report["usage"][name] == sum(line["usage"][name] for line in report["lines"])
    assert report["questions"] == len(own.answered)
    assert report["cached_answers"] == sum(one["cached_answer"] for one in own.asked)
    assert len(own.asked) == sum(
        report[name] for name in ("questions", "cached_answers", "uncalled")
    )
    computed = own.baselines()
    assert [one["baseline"] for one in report["baselines"]] == list(computed)
    for one in report["baselines"]:
        cost = computed[one["baseline"]]
        if cost is None:
            assert one["cost_usd"] is one["saving"] is None
            assert one["why"]
            continue
        assert Decimal(one["cost_usd"]) == usd(cost), one["baseline"]
        assert Decimal(one["saved_usd"]) == usd(cost - own.spent)
        digits = Decimal("0.000001")
        for name, ours in (("saving", own.spent), ("saving_at_least", own.at_most)):
            assert abs(Decimal(str(one[name])) - (1 - ours / cost)) <= digits / 2, name
    return own


def test_every_printed_saving_is_recomputed_from_the_raw_log(ifmem: Any, log: Log) -> None:
    fill(log)
    log.close()
    report = ifmem.json("costs")
    entries = ifmem.lines("costs", "--calls")
    with localcontext(prec=60):
        own = check(report, entries)
    assert len(own.calls) > 100
    assert report["unknown_calls"] > 0
    assert Decimal(report["cost_usd"]) < Decimal(report["cost_usd_at_most"])
    assert all(one["measured"] for one in report["models"])
    assert {one["source"] for m in report["models"] for one in m["prices"]} == {
        "made up for this test",
        "another list",
    }
    assert Decimal(report["storage_usd"]) == Decimal("0.0155")
    assert all(one["cost_usd"] for one in report["baselines"])


def test_a_part_of_the_time_is_recomputed_from_its_own_rows(ifmem: Any, log: Log) -> None:
    fill(log, unknown=False)
    log.close()
    span = ("--since", "2026-01-02T10:00:00Z", "--until", "2026-01-02T16:00:00Z")
    report, entries = ifmem.json("costs", *span), ifmem.lines("costs", "--calls", *span)
    with localcontext(prec=60):
        own = check(report, entries)
    assert 10 < len(own.asked) < 55
    assert report["cost_usd"] == report["cost_usd_at_most"]
    none = ifmem.json("costs", "--since", "2026-02-01")
    assert (none["lines"], none["cost_usd"], none["questions"]) == ([], "0", 0)


def test_a_corpus_that_does_not_fit_the_window_says_so(ifmem: Any, log: Log) -> None:
    fill(log, corpus=1_200_000)
    log.close()
    report = ifmem.json("costs")
    with localcontext(prec=60):
        check(report, ifmem.lines("costs", "--calls"))
    (one,) = [one for one in report["baselines"] if one["baseline"] == "one_window"]
    assert one["why"].startswith("does not fit: 1,")
    assert "does not fit" in ifmem("costs").stdout


def test_every_projected_row_is_exact(ifmem: Any, log: Log) -> None:
    fill(log)
    log.close()
    report = ifmem.json("costs", "--project", "6000/day")
    projection = report["projection"]
    with localcontext(prec=60):
        for table in (projection["measured"], projection["paper"]):
            daily = [Decimal(row["daily_usd"]) for row in table]
            for row, cost in zip(table, daily, strict=True):
                assert row["queries"] == 6_000
                assert cost == 6_000 * Decimal(row["per_query_usd"])
                assert Decimal(row["annual_usd"]) == 365 * cost
                assert Decimal(row["saved_daily_usd"]) == daily[0] - cost
                assert Decimal(row["saved_annual_usd"]) == 365 * (daily[0] - cost)
                share = 1 - cost / daily[0]
                assert abs(Decimal(str(row["saving"])) - share) <= Decimal("0.0000005")
        measured = {row["name"]: Decimal(row["per_query_usd"]) for row in projection["measured"]}
        assert next(iter(measured)) == "reread"
        costs = {one["baseline"]: one["cost_usd"] for one in report["baselines"]}
        for name, total in {**costs, "ifmem": report["cost_usd"]}.items():
            exact = Decimal(total) / report["questions"]
            assert abs(measured[name] - exact) <= Decimal("0.5") / PICO
        monthly = [Decimal(row["monthly_usd"]) for row in projection["infrastructure"]]
        assert Decimal(projection["infrastructure_monthly_usd"]) == sum(monthly)
    text = ifmem("costs", "--project", "6000").stdout
    assert "6,000 questions a day" in text
    assert projection["paper_price"]["source"] in text


def test_what_is_negative_is_printed_as_it_is(ifmem: Any, log: Log) -> None:
    log.call(
        MORNING,
        TokenUsage(cache_write_1h=50_000, output=10),
        question="only",
        shard=1,
        prefix_tokens=50_000,
    )
    log.question("only", MORNING, asked_tokens=30_000, corpus_tokens=30_000, retrieved_tokens=1_000)
    log.close()
    report = ifmem.json("costs")
    with localcontext(prec=60):
        check(report, ifmem.lines("costs", "--calls"))
    assert report["models"][0]["measured"] is False
    reread = report["baselines"][0]
    assert reread["saving"] < 0
    assert reread["saved_usd"].startswith("-")
    text = ifmem("costs").stdout
    assert f"{100 * reread['saving']:,.1f} %" in text
    assert "not measured" in text


def test_a_call_that_a_crash_left_under_way_is_unknown_at_the_next_start(
    ifmem: Any, log: Log
) -> None:
    log.call(MORNING, TokenUsage(uncached=1_000_000), question="q", shard=1, prefix_tokens=9)
    log.call(MORNING, None, question="q", shard=2, prefix_tokens=9, state=CallState.INTENT)
    log.close()
    states = [one["call"]["state"] for one in ifmem.lines("costs", "--calls")]
    assert states == ["settled", "unknown"]
    report = ifmem.json("costs")
    assert report["unknown_calls"] == 1
    assert (report["cost_usd"], report["cost_usd_at_most"]) == ("0.5", "0.9")
    assert "$0.500 to $0.900" in ifmem("costs").stdout


def test_a_memory_that_called_no_model_says_so(ifmem: Any) -> None:
    assert "No model was called" in ifmem("costs").stdout
    assert ifmem.lines("costs", "--calls") == []


@pytest.mark.parametrize("wanted", ["0", "-5", "many", "6000/year", "99999999999"])
def test_a_projection_that_is_none_is_a_usage_error(ifmem: Any, wanted: str) -> None:
    told = ifmem.json("costs", "--project", wanted, code=2)
    assert told["error"] == "Invalid"


def test_the_library_reads_the_same_account_and_all_its_pages(ifmem: Any, log: Log) -> None:
    fill(log)
    for number in range(1_000):
        log.call(MORNING, TokenUsage(output=1), question=f"more {number}")
    log.close()
    settings, _ = read_settings(flags={}, environment=ifmem.environment, directory=ifmem.directory)
    with Memory.open_sync(settings=settings) as memory:
        report = memory.costs()
        entries = list(memory.ledger())
    assert report.cost_usd == ifmem.json("costs")["cost_usd"]
    assert len({one.call.call_id for one in entries if one.call}) == sum(
        line.calls for line in report.lines
    )
    assert [one.question is None for one in entries] == sorted(
        one.question is None for one in entries
    )
    assert json.loads(ifmem("costs", "--calls", "--json").stdout.splitlines()[0])["question"]
