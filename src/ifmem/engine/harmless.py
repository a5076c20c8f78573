"""Names that stay as they are given, so that one which looks like a credential is refused.

A text is masked and still says the rest. A name that was masked would be another one: two agents
could come to share an inbox, and whoever gave it would not find it again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ifmem.engine.masking import mask
from ifmem.errors import Invalid


def require_harmless(name: str, what: str) -> str:
    """The name itself, when no part of it looks like a credential.

    Raises:
        Invalid: it does; the message does not repeat it.
    """
    if mask(name).count:
        raise Invalid(
            f"`{what}` has the form of a credential: choose another; nothing was stored",
            field=what,
        )
    return name


def require_harmless_names(fields: Mapping[str, object]) -> None:
    """The same for each of these that is a text, or several.

    Raises:
        Invalid: one looks like a credential.
    """
    for what, given in fields.items():
        texts: Iterable[object] = given if isinstance(given, tuple | list) else (given,)
        for text in texts:
            if isinstance(text, str):
                require_harmless(text, what)
