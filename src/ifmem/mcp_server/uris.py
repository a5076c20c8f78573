"""The names of the resources: ``memory://…``, made and read here only."""

from __future__ import annotations

import re
from dataclasses import dataclass

FINDINGS = "memory://findings"
CONTEXT = "memory://context/active"
FINDINGS_PAGE_TEMPLATE = "memory://findings{?before}"
FINDING_TEMPLATE = "memory://findings/{id}"
SHARD_TEMPLATE = "memory://shards/{n}"

_FINDINGS = re.compile(r"memory://findings(?:\?before=(\d{1,18}))?")
_FINDING = re.compile(r"memory://findings/([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})")
_SHARD = re.compile(r"memory://shards/([1-9]\d{0,5})")


@dataclass(frozen=True, slots=True)
class NewestFindings:
    """The newest findings, or those before a cursor."""

    before: str | None = None


@dataclass(frozen=True, slots=True)
class OneFinding:
    """A finding by its id."""

    id: str


@dataclass(frozen=True, slots=True)
class OneShard:
    """A shard by its number."""

    number: int


@dataclass(frozen=True, slots=True)
class ActiveContext:
    """The tokens that are held, and by which shards."""


Named = NewestFindings | OneFinding | OneShard | ActiveContext


def read_uri(uri: str) -> Named | None:
    """What a URI names; None when no resource may have that name."""
    if uri == CONTEXT:
        return ActiveContext()
    if found := _FINDINGS.fullmatch(uri):
        return NewestFindings(found[1])
    if found := _FINDING.fullmatch(uri):
        return OneFinding(found[1])
    if found := _SHARD.fullmatch(uri):
        return OneShard(int(found[1]))
    return None


def page_uri(before: str) -> str:
    """Of the findings before a cursor."""
    return f"{FINDINGS}?before={before}"


def finding_uri(finding_id: str) -> str:
    """Of one finding."""
    return f"{FINDINGS}/{finding_id}"


def shard_uri(number: int) -> str:
    """Of one shard."""
    return f"memory://shards/{number}"
