"""Adopting direct writes: a key that somebody set, and a hint on the channel, become a finding."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

import msgspec

from ifmem import clock, tokens
from ifmem.domain.finding import Citation, CitationStatus, Finding, Trust
from ifmem.engine.masking import mask_values
from ifmem.errors import Invalid, NotPermitted, Unavailable
from ifmem.wire import finding_json
from ifmem.wire.envelopes import Hint

log = logging.getLogger(__name__)

_WAITING = 1_000
_SHORTEST_WAIT, _LONGEST_WAIT = 0.1, 5.0
_MASK = b"[masked:"


@dataclass
class Adopter:
    """Takes what the feed calls foreign, and publishes the findings that it leads to.

    Guarantees:
        trust: at most ``agent``, and no citation counts as verified, whatever the writer claims.
        failures: what cannot be adopted goes to the dead letters with its reason; a bus that
            takes nothing now is waited for. Nothing that is written ends the adopter.
        memory: hints above a thousand are dropped; the next hint of the same id adopts it.
        history: ``on_masked`` is called when what was written had a credential in it.
    """

    read: Callable[[str], Awaitable[bytes | None]]
    """The value at the key of a finding."""
    publish: Callable[[Finding], Awaitable[object]]
    """Publishes a finding by the log."""
    dead_letter: Callable[..., Awaitable[None]]
    """Keeps ``channel``, ``message`` and ``reason``."""
    channel: str
    on_masked: Callable[[], object] = lambda: None
    _hints: asyncio.Queue[tuple[bytes, Hint | Invalid]] = field(
        default_factory=lambda: asyncio.Queue(_WAITING)
    )

    def take(self, payload: bytes, said: Hint | Invalid) -> None:
        """Note a foreign message; for ``Feed.on_foreign``."""
        if isinstance(said, Hint) and said.finding_id is None:
            return
        try:
            self._hints.put_nowait((payload, said))
        except asyncio.QueueFull:
            log.warning("too many foreign messages on %s: one was dropped", self.channel)

    async def run(self) -> NoReturn:
        """Adopt until cancelled."""
        while True:
            payload, said = await self._hints.get()
            await self._insist(payload, said)

    async def _insist(self, payload: bytes, said: Hint | Invalid) -> None:
        wait = _SHORTEST_WAIT
        while True:
            try:
                return await self._take_one(payload, said)
            except (Unavailable, NotPermitted) as error:
                log.info("a direct write waits: %s", error.message)
            except Exception:
                log.exception("a direct write was passed over")
                return
            await asyncio.sleep(wait * (0.5 + clock.chance()))
            wait = min(2 * wait, _LONGEST_WAIT)

    async def _take_one(self, payload: bytes, said: Hint | Invalid) -> None:
        try:
            if isinstance(said, Invalid):
                raise said
            assert said.finding_id is not None
            body = await self.read(said.finding_id)
            if body is None:
                # Published, forgotten, or not written yet: there is nothing to adopt.
                return
            finding = adopted(said.finding_id, body)
        except Invalid as error:
            await self.dead_letter(channel=self.channel, message=payload, reason=error.message)
            return
        await self.publish(finding)
        if holds_new_mask(body, finding_json.to_json(finding)):
            self.on_masked()


def holds_new_mask(given: bytes, stored: bytes) -> bool:
    """Whether a credential was masked on the way from one body to the other."""
    return stored.count(_MASK) > given.count(_MASK)


def adopted(finding_id: str, body: bytes) -> Finding:
    """The finding that a direct write stands for, with no more trust than any agent has.

    Raises:
        Invalid: it is no finding, or one with another id than its key.
    """
    try:
        given = msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError) as error:
        raise Invalid(f"the value at finding:{finding_id} is no JSON object: {error}") from error
    masked, _ = mask_values(given)
    assert isinstance(masked, dict)
    finding = finding_json.from_json(
        {
            "finding_id": finding_id,
            "worker_id": "unknown",
            "timestamp": clock.stamp(clock.now()),
            **masked,
            "durable": False,
        }
    )
    if finding.finding_id != finding_id:
        raise Invalid(f"the value at finding:{finding_id} names itself {finding.finding_id}")
    finding = replace(
        finding,
        trust=Trust.AGENT if finding.trust is Trust.USER else finding.trust,
        citations=tuple(map(_unverified, finding.citations)),
        tokens=tokens.count(finding.claim),
    )
    return replace(finding, content_sha256=finding_json.digest(finding))


def _unverified(citation: Citation | str) -> Citation | str:
    if isinstance(citation, str) or citation.status is CitationStatus.UNVERIFIED:
        return citation
    return replace(citation, status=CitationStatus.UNVERIFIED)
