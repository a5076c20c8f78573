"""A process that asks the local model, run by ``test_local_model.py``.

Prints a line when the answer has begun and one with what came, then ends as it was told:
``close`` in good order, ``leave`` without closing anything, ``long`` never by itself.
"""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import replace
from pathlib import Path

from ifmem.domain.model import ModelCall, Purpose
from ifmem.domain.prompt import Prompt
from ifmem.llm.local_model import LocalModel
from ifmem.model_settings import LocalSettings

RULES = "Answer with a sentence of the documents."
HARBOUR = """The lighthouse on Cape Morrow was built in 1874 by the engineer Adela Finch.
The ferry to the island leaves at 06:40 on market days and at 08:15 otherwise.
The observatory on the hill opened in 1911, and its door code is kept by Tomas Rell.
"""


def settings(**changes: int) -> LocalSettings:
    return LocalSettings(**{"context": 512, "slots": 2, **changes})


def call(question: str, documents: str = HARBOUR, *, most: int = 6) -> ModelCall:
    prompt = Prompt(name="test", version=1, rules=RULES, documents=documents, question=question)
    return ModelCall(call_id="1", prompt=prompt, purpose=Purpose.ANSWER, max_output=most)


async def main(directory: Path, ending: str) -> None:
    model = LocalModel(settings(), directory=directory)
    asked = call("Who built the lighthouse?")
    if ending == "long":
        # Words enough to be struck in the middle of them.
        asked = call("Write down all of it, and then again.", most=400)
    try:
        done = await model.complete(replace(asked, begun=lambda: say("begun")))
        say(json.dumps({"read": done.usage.cache_read, "written": done.usage.cache_write}))
    finally:
        if ending != "leave":
            await model.aclose()


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
