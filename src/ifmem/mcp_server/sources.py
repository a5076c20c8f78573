"""Which sources a caller means: their names, citations and filters, as seen from its project."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

from ifmem.errors import Invalid, NotPermitted
from ifmem.mcp_server.arguments import CitedSource
from ifmem.mcp_server.port import Caller
from ifmem.wire import naming
from ifmem.wire.calls import Filters

Named = TypeVar("Named")
_FINDING = "finding:"


def source_named(caller: Caller, text: str) -> str:
    """The source that a caller means by a name.

    Raises:
        Invalid: it cannot be a name.
        NotPermitted: it is a relative path, and the caller stands nowhere.
    """
    return _seen_from(caller, text, lambda directory: naming.source_name(text, directory))


def path_named(caller: Caller, text: str) -> str:
    """A path as it is to be loaded: absolute, its links left to the daemon's fence."""
    return _seen_from(caller, text, lambda directory: str(directory / text))


def cited(caller: Caller, citations: Iterable[str | CitedSource]) -> list[Any]:
    """Citations as a finding holds them; their quotes and digests are the daemon's to fill in."""
    return [_cited(caller, one) for one in citations]


def filters(
    caller: Caller,
    *,
    source: str | list[str] | None = None,
    group: str | None = None,
    author: str | None = None,
    since: str | None = None,
    until: str | None = None,
    scope: str | None = None,
) -> Filters:
    """What a search is restricted to.

    Args:
        scope: ``project``, ``space``, or None: the caller's project when it has one.

    Raises:
        Invalid: a moment cannot be read, or the caller has no project to restrict to.
    """
    if scope == "project" and caller.root is None:
        raise Invalid("`scope`: you are bound to no project: use `space`", field="scope")
    sources = [source] if isinstance(source, str) else source or []
    return Filters(
        source=tuple(source_named(caller, one) for one in sources),
        group=group,
        author=author,
        since=naming.moment(since) if since else None,
        until=naming.moment(until, end_of_day=True) if until else None,
        root=None if scope == "space" else caller.root,
    )


def _cited(caller: Caller, citation: str | CitedSource) -> dict[str, Any] | str:
    if isinstance(citation, str):
        return _seen_from(caller, citation, lambda directory: naming.citation(citation, directory))
    if citation.source.startswith(_FINDING):
        return citation.source
    whole: dict[str, Any] = {
        "source": source_named(caller, citation.source),
        "lines": citation.lines,
        "quote": citation.quote,
    }
    return whole if citation.locator is None else {**whole, "locator": citation.locator}


def _seen_from(caller: Caller, text: str, named: Callable[[Path], Named]) -> Named:
    if not text.strip():
        raise Invalid("a source is empty: give a path, a URL, `chat:ID` or `finding:UUID`")
    if "\0" in text:
        raise Invalid("a source holds a NUL character: no file is called so")
    directory = Path("/") if caller.directory is None else Path(caller.directory)
    try:
        name = named(directory)
    except OSError as error:
        # The same as outside the roots: what cannot be looked at is not told apart.
        raise NotPermitted(f"{text[:200]} is not permitted", source=text[:200]) from error
    if caller.directory is None and not (text.startswith("/") or _is_no_path(name)):
        raise NotPermitted(
            f"{text[:200]!r} is a relative path, and nobody says of which directory: give an "
            "absolute one",
            source=text[:200],
        )
    return name


def _is_no_path(name: object) -> bool:
    source = name["source"] if isinstance(name, dict) else name
    return isinstance(source, str) and not source.startswith("/")
