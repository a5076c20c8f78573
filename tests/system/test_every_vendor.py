"""One question over four shards, each read by another vendor's model, and what that costs."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

with warnings.catch_warnings():
    # The tokeniser opens its vocabulary in a way that Python 3.11 and 3.12 deprecate.
    warnings.simplefilter("ignore", DeprecationWarning)
    from ifmem.testing.anthropic_server import AnthropicServer
    from ifmem.testing.chat_protocol import Chat, Script
    from ifmem.testing.deepseek_server import DeepSeekServer
    from ifmem.testing.gemini_server import GeminiServer
    from ifmem.testing.openai_server import OpenAIServer

for sdk in ("anthropic", "openai", "google.genai"):
    pytest.importorskip(sdk, reason="an extra for a vendor's models is not installed")

_DOCUMENT = re.compile(r"<document (\d+) mark=(\w+) [^\n]*>\n(.*?)</document \1 mark=\2>", re.S)
FACTS = {
    "src/pump.py": "# The Pump of the harbour runs at 7 bar.",
    "docs/mill.md": "The Mill of the harbour grinds 12 sacks.",
    "tests/test_crane.py": "# The Crane of the harbour lifts 40 tons.",
    "decisions/ferry.md": "The Ferry of the harbour leaves at noon.",
}
"""Each goes to the shard of another speciality."""
QUESTION = "List what the Pump, the Mill, the Crane and the Ferry of the harbour do"
MODELS = {
    "files-git": "anthropic:claude-haiku-5-5",
    "analysis-search": "gemini:gemini-3.8-flash",
    "testing-validation": "openai:gpt-6-luna",
    "coordination-decision": "deepseek:deepseek-flash",
}


def words_of(value: Any) -> str:
    """Every text of a request's body, in the order of its keys."""
    if isinstance(value, dict):
        return "\n".join(one if key == "text" else words_of(one) for key, one in value.items())
    return "\n".join(map(words_of, value)) if isinstance(value, list) else ""


def read(prompt: str) -> str:
    """An attentive model: what its documents say of the harbour, each sentence quoted."""
    held = [
        (int(number), line.removeprefix("# "))
        for number, _, text in _DOCUMENT.findall(prompt)
        for line in text.splitlines()
        if "of the harbour" in line
    ]
    if "You join findings" in prompt:
        return " ".join(f"{line.rstrip('.')} [{number}]." for number, line in held)
    quotes = [{"document": n, "quote": line, "claim": line} for n, line in held]
    return json.dumps(
        {
            "found": bool(quotes),
            "quotes": quotes,
            "answer": " ".join(line for _, line in held),
            "confidence": 0.9,
            "missing": "",
        }
    )


def schema_kept(chat: Chat) -> Script:
    return Script(text=read("\n".join(part.text for part in chat.parts)))


def in_a_sentence(chat: Chat) -> Script:
    """A model without structured output."""
    said = read("\n".join(part.text for part in chat.parts))
    if not said.startswith("{"):
        return Script(text=said)
    return Script(text=json.loads(said)["answer"] or "NOT FOUND")


@pytest.fixture
def vendors() -> Iterator[dict[str, Any]]:
    with ExitStack() as stack:
        claude = stack.enter_context(AnthropicServer(lambda request: read(words_of(request.body))))
        gemini = stack.enter_context(GeminiServer(lambda request: read(words_of(request.body))))
        openai = stack.enter_context(OpenAIServer())
        deepseek = stack.enter_context(DeepSeekServer())
        openai.script, deepseek.script = schema_kept, in_a_sentence
        yield {"anthropic": claude, "gemini": gemini, "openai": openai, "deepseek": deepseek}


@pytest.fixture
def harbour(install: Any, vendors: dict[str, Any], writer: Any) -> Any:
    """Some thousand tokens in each of four shards, and a fact in each."""
    ifmem = install()
    lines = ['[models]\nsynthesis = "anthropic:claude-haiku-5-5"\n']
    for speciality, model in MODELS.items():
        lines.append(f'[[models.shards]]\nspeciality = "{speciality}"\nmodel = "{model}"\n')
    for name, server in vendors.items():
        ifmem.environment[f"SOME_{name.upper()}_KEY"] = server.key
        path = "/v1" if name == "openai" else ""
        lines.append(
            f'[[providers]]\nname = "{name}"\nbase_url = "{server.url}{path}"\n'
            f'key_env = "SOME_{name.upper()}_KEY"\n'
        )
    ifmem.write("config.toml", "\n".join(lines))
    for place, (path, fact) in enumerate(FACTS.items()):
        text = writer(place).code(40) if path.endswith(".py") else writer(place).prose(200)
        ifmem.write(path, f"{fact}\n\n{text}")
    ifmem("load", "src", "docs", "tests", "decisions", "--json")
    return ifmem


def test_four_vendors_answer_one_question_and_each_call_is_in_the_account(
    harbour: Any, vendors: dict[str, Any]
) -> None:
    told = harbour("ask", QUESTION, "--json").json
    assert told["found"], told
    assert told["shards_missing"] == []
    assert {one["model"] for one in told["shards"]} == set(MODELS.values())
    quoted = " ".join(one["quote"] for one in told["citations"])
    assert all(fact.removeprefix("# ") in quoted for fact in FACTS.values())
    assert all(one["verified"] for one in told["citations"])
    assert all(server.requests for server in vendors.values())

    account = harbour("costs", "--json").json
    assert {line["model"] for line in account["lines"]} == set(MODELS.values())
    for bucket in ("uncached", "cache_write", "cache_read", "output", "reasoning"):
        assert account["usage"][bucket] == told["usage"][bucket]
    assert account["cost_usd"] == told["cost_usd"] != "0"
    assert account["unknown_calls"] == 0


def test_the_second_question_is_read_from_the_vendors_caches(harbour: Any) -> None:
    first = harbour("ask", QUESTION, "--json").json
    again = harbour("ask", QUESTION + " every day", "--json").json
    assert again["usage"]["cache_read"] > first["usage"]["cache_read"]
    assert again["usage"]["uncached"] < first["usage"]["uncached"] + first["usage"]["cache_write"]
    shards = {one["shard"]: one for one in harbour("shards", "--json").json["items"]}
    hot = [number for number, one in shards.items() if one["hot"] == "hot"]
    assert hot
    for number in hot:
        assert len(shards[number]["prefix_sha256"]) == 64
        assert shards[number]["hot_until"]


def test_one_vendor_that_is_away_is_named_and_the_others_answer(
    harbour: Any, vendors: dict[str, Any]
) -> None:
    config = Path(harbour.directory, "config.toml")
    gone = vendors["openai"].url
    config.write_text(config.read_text().replace(gone, "http://127.0.0.1:9"))
    harbour.down()
    told = harbour("ask", QUESTION, "--json").json
    assert told["found"]
    (missing,) = told["shards_missing"]
    (silent,) = [one for one in told["shards"] if one["shard"] == missing]
    assert silent["model"] == "openai:gpt-6-luna"
    assert silent["error"]
    assert "Crane" not in told["answer"]
