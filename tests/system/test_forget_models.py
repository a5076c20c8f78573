"""What is forgotten leaves what the local model has saved of it, too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ifmem.errors import ConfigError
from ifmem.llm.local_weights import weights
from ifmem.model_settings import LocalSettings

pytest.importorskip("xllamacpp", reason="the extra `local` is not installed")


@pytest.fixture(autouse=True)
def _needs_weights() -> None:
    try:
        weights(LocalSettings())
    except ConfigError as error:
        pytest.skip(error.message)


@pytest.mark.parametrize("what", ["document", "passage"])
def test_saved_slots_go_with_the_text_and_the_rest_is_answered_anew(
    ifmem: Any, eventually: Any, what: str
) -> None:
    ifmem.write("notes/cape.md", "The lighthouse of Cape Morrow was built in 1874.\n")
    ifmem.write("notes/quay.md", "Honey is sold by the quay on Mondays.\n")
    ifmem("load", "notes")
    question = "When was the lighthouse of Cape Morrow built?"
    assert ifmem("ask", question, "--model", "local", "--json").json["found"]
    saved = ifmem.home / "models"
    eventually(lambda: list(saved.glob("*.slot")))
    (passage,) = [
        one
        for one in ifmem("recall", question, "--json").json["passages"]
        if Path(one["source"]).name == "cape.md"
    ]
    ifmem("forget", passage["source"] if what == "document" else passage["id"])
    assert list(saved.glob("*.slot")) == []
    assert not ifmem("ask", question, "--model", "local", "--json").json["found"]
    shards = {one["shard"]: one for one in ifmem("shards", "--json").json["items"]}
    assert shards[passage["shard"]]["generation"] > 0
