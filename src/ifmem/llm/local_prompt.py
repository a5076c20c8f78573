"""A prompt as tokens for the local engine, cut where its cache is cut.

Each part becomes tokens on its own: what stands before the boundary is the same whatever is asked
after it, and control tokens written out in recalled text stay text, so no document can close the
turn it is quoted in.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from ifmem.domain.prompt import Prompt
from ifmem.errors import ConfigError, Failed

_RULES, _DOCUMENTS, _QUESTION = "[rules go here]", "[documents go here]", "[question goes here]"
_PARAGRAPH = "\n\n"
_KEPT = 16
"""Prefixes whose tokens are remembered."""


@dataclass(frozen=True, slots=True)
class PromptTokens:
    """The tokens of a prompt."""

    prefix: tuple[int, ...]
    question: tuple[int, ...]
    """With the end of the user's turn and the beginning of the answer."""


@dataclass(frozen=True, slots=True)
class ChatTemplate:
    """What a model's chat template writes around the parts of a prompt."""

    before_rules: str
    before_documents: str
    before_question: str
    after_question: str


def chat_template(render: Callable[[str, str], str]) -> ChatTemplate:
    """The template of a model.

    Args:
        render: the prompt of a system's and a user's message.

    Raises:
        ConfigError: it does not take one message of each, nor a user's message alone.
    """
    user = _DOCUMENTS + _QUESTION
    for system, said in ((_RULES, user), ("", _RULES + _PARAGRAPH + user)):
        try:
            rendered = render(system, said)
        except Failed:
            # A template may refuse the system's role: the rules then begin the user's message.
            continue
        before, _, rest = rendered.partition(_RULES)
        between, _, rest = rest.partition(_DOCUMENTS)
        middle, _, after = rest.partition(_QUESTION)
        if all(rendered.count(part) == 1 for part in (_RULES, _DOCUMENTS, _QUESTION)):
            return ChatTemplate(before, between, middle, after)
    raise ConfigError(
        "the weights have a chat template that takes no instructions and question: use those of "
        "an instruct model in local.weights"
    )


class Tokenizer:
    """Turns prompts into tokens.

    Args:
        tokenize: the tokens of a text; whether control tokens in it count as such, and whether
            it begins the prompt.
    """

    def __init__(
        self, template: ChatTemplate, tokenize: Callable[[str, bool, bool], list[int]]
    ) -> None:
        self._template = template
        self._tokenize = tokenize
        self._prefixes: OrderedDict[str, tuple[int, ...]] = OrderedDict()

    def tokens(self, prompt: Prompt) -> PromptTokens:
        """The tokens of a prompt; those of a prefix that was seen lately are not made again."""
        return PromptTokens(self.prefix(prompt), self._question(prompt))

    def prefix(self, prompt: Prompt) -> tuple[int, ...]:
        """The tokens before the boundary."""
        key = prompt.prefix_sha256
        tokens = self._prefixes.pop(key, None) or self._computed_prefix(prompt)
        self._prefixes[key] = tokens
        while len(self._prefixes) > _KEPT:
            self._prefixes.popitem(last=False)
        return tokens

    def text(self, text: str) -> list[int]:
        """The tokens of recalled text or a question."""
        return self._tokenize(text, False, False) if text else []

    def _computed_prefix(self, prompt: Prompt) -> tuple[int, ...]:
        template = self._template
        return (
            *self._tokenize(template.before_rules, True, True),
            *self.text(prompt.rules),
            *self._markup(template.before_documents),
            *self.text(prompt.documents),
            *self._markup(template.before_question),
        )

    def _question(self, prompt: Prompt) -> tuple[int, ...]:
        apart = "" if not prompt.documents or prompt.documents.endswith("\n") else _PARAGRAPH
        return (
            *self.text(apart + prompt.question),
            *self._markup(self._template.after_question),
        )

    def _markup(self, text: str) -> list[int]:
        return self._tokenize(text, True, False) if text else []
