"""A finding: a claim an agent made, with the citations that let a reader check it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from ifmem.errors import Invalid

SCHEMA_VERSION = "1.0"
MAX_CLAIM_CHARACTERS = 32_000
"""A longer text is a document: it is loaded, and the finding cites it."""
MAX_FINDING_BYTES = 256 * 1024

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


class SpeechAct(StrEnum):
    """What the author does by saying it."""

    INFORM = "inform"
    REQUEST = "request"
    ESCALATE = "escalate"
    HOLD = "hold"


class Trust(StrEnum):
    """How far the author is trusted, highest first."""

    USER = "user"
    AGENT = "agent"
    CAPTURED = "captured"
    QUARANTINED = "quarantined"


class CitationStatus(StrEnum):
    """What code found when it looked for the quote."""

    VERIFIED = "verified"
    UNVERIFIED = "unverified"
    STALE = "stale"
    DISPUTED = "disputed"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True, kw_only=True)
class Citation:
    """A pointer a reader can check."""

    source: str
    """Absolute path, URL, ``chat:<id>`` or ``finding:<uuid>``."""
    lines: tuple[int, int] | None = None
    """First and last line, counted from 1, both included."""
    locator: str | None = None
    quote: str = ""
    sha256: str | None = None
    """Of the source's bytes as read."""
    status: CitationStatus = CitationStatus.UNVERIFIED
    unknown: Mapping[str, object] = field(default_factory=dict)
    """Fields of a later version, given back as they came."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One claim as stored; frozen, and superseded rather than edited.

    Raises:
        Invalid: confidence outside 0..1 or NaN, an empty or oversize claim, an id that is no
            uuid, a schema version this code does not know.
    """

    finding_id: str
    worker_id: str
    timestamp: str
    """UTC, ISO-8601 with ``Z``."""
    claim: str
    confidence: float = 1.0
    citations: tuple[Citation | str, ...] = ()
    """A string is ``finding:<uuid>`` or a URL."""
    speech_act: SpeechAct = SpeechAct.INFORM
    task_id: str | None = None
    session_id: str | None = None
    topic: str | None = None
    value: float | None = None
    unit: str | None = None
    tags: tuple[str, ...] = ()
    tokens: int = 0
    """o200k tokens of the claim."""
    cost_usd: str | None = None
    source_model: str | None = None
    supersedes: str | None = None
    trust: Trust = Trust.AGENT
    durable: bool = True
    content_sha256: str = ""
    schema_version: str = SCHEMA_VERSION
    unknown: Mapping[str, object] = field(default_factory=dict)
    """Fields of a later version, given back as they came."""

    def __post_init__(self) -> None:
        if not self.claim.strip():
            raise Invalid("a finding needs a claim: say in one sentence what you found")
        if len(self.claim) > MAX_CLAIM_CHARACTERS:
            raise Invalid(
                f"the claim has {len(self.claim):,} characters; the limit is "
                f"{MAX_CLAIM_CHARACTERS:,}: load the text as a document and cite it",
                characters=len(self.claim),
                limit=MAX_CLAIM_CHARACTERS,
            )
        if math.isnan(self.confidence) or not 0 <= self.confidence <= 1:
            raise Invalid(
                f"confidence must lie between 0 and 1; it is {self.confidence}",
                confidence=str(self.confidence),
            )
        if self.value is not None and not math.isfinite(self.value):
            raise Invalid(f"value must be a finite number; it is {self.value}")
        if self.schema_version not in ("1.0", "1.1"):
            raise Invalid(
                f"schema_version {self.schema_version!r} is not known here (1.0, 1.1): "
                "update ifmem, or send the finding in version 1.0"
            )
        require_uuid(self.finding_id)
        if self.supersedes is not None:
            require_uuid(self.supersedes)

    @property
    def is_quarantined(self) -> bool:
        """Nobody gets it until somebody releases it."""
        return self.trust is Trust.QUARANTINED


def require_uuid(text: str) -> str:
    """The text itself when it is a lower-case uuid, otherwise ``Invalid``."""
    if _UUID.fullmatch(text) is None:
        raise Invalid(
            f"{text[:80]!r} is not a uuid: 8-4-4-4-12 lower-case hexadecimal digits", id=text[:80]
        )
    return text
