"""What ``bench hot`` asks: prompts of a wanted size over real text, and short questions."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Iterator

from ifmem.benchmarks import texts
from ifmem.domain.prompt import Prompt
from ifmem.errors import Refused
from ifmem.prompts.fencing import FencedDocument, fence
from ifmem.prompts.shard_answer import shard_answer

QUESTIONS = (
    "What does this text define first?",
    "Which error is raised?",
    "What is returned at the end?",
    "Which function takes a file?",
    "Which names are private?",
    "What happens when the input is empty?",
    "Which class holds the state?",
    "Where is the default set?",
    "Which module is imported first?",
    "What does the first comment say?",
    "How is a timeout handled?",
    "Which argument is optional?",
    "What is counted here?",
    "When is the connection closed?",
    "Which value is a constant?",
    "What is checked before the loop?",
    "Which method is called twice?",
    "What does the longest function do?",
    "Is there a lock, and on what?",
    "Which encoding is expected?",
    "What is the type of the result?",
    "Which lines are about bytes?",
    "What is the last function called?",
    "Which condition ends the loop?",
    "What is written to the file?",
)
"""No two of them are alike, so that no answer is in the cache with its question."""

Count = Callable[[str], Awaitable[int]]
"""Tokens of a text, as the engine counts."""


class PromptSource:
    """Prompts over text of Python's standard library; no text is used twice.

    The prompt is the one that a shard's model gets: rules, one fenced document, the question.
    """

    def __init__(self, count: Count) -> None:
        self._count = count
        self._lines = _lines()

    async def of_size(self, tokens: int) -> Prompt:
        """A prompt with at least so many tokens before the question, and few more.

        Raises:
            Refused: there is not enough text.
        """
        text: list[str] = []
        while True:
            prompt = _prompt("".join(text), QUESTIONS[0])
            missing = tokens - await self._count(prompt.rules + prompt.documents)
            if missing <= 0:
                return prompt
            # Lines come in blocks until little is missing, so that little is counted often.
            text += [self._line() for _ in range(max(1, missing // 40))]

    def _line(self) -> str:
        try:
            return next(self._lines)
        except StopIteration:
            raise Refused("the standard library has too little text: name fewer sizes") from None


def asked(prompt: Prompt, question: str) -> Prompt:
    """The same documents, another question."""
    return shard_answer(prompt.documents, question, structured=False)


def _prompt(text: str, question: str) -> Prompt:
    digest = hashlib.sha256(text.encode()).hexdigest()
    document = FencedDocument(1, "text", digest, text)
    return shard_answer(fence([document]), question, structured=False)


def _lines() -> Iterator[str]:
    for path in texts.library_files():
        try:
            yield from path.read_text(encoding="utf-8").splitlines(keepends=True)
        except UnicodeDecodeError:
            continue
