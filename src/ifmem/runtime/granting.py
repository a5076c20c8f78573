"""The tokens of a home: created, listed, revoked and checked, and who was refused.

Done by the daemon of either role before any space is opened, for callers on its own socket only:
nothing here can be reached over the bus or over MCP.
"""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import replace
from datetime import timedelta
from math import isfinite
from pathlib import Path
from typing import Any

import msgspec

from ifmem import clock
from ifmem.domain.finding import Trust
from ifmem.domain.grant import Grant, Scope
from ifmem.domain.message import require_name
from ifmem.domain.space import require_space
from ifmem.engine.harmless import require_harmless
from ifmem.engine.refusals import Refusal
from ifmem.errors import Invalid, NotFound, NotPermitted, Refused
from ifmem.runtime.noting_grants import GrantNote, NoteGrant, grants_into_log
from ifmem.runtime.refusing import AuditedRefusals, Note
from ifmem.store.grants import GrantTable
from ifmem.wire.agent_calls import (
    RefusalCall,
    TokenCheckCall,
    TokenCreateCall,
    TokenRevokeCall,
    TokenShape,
)
from ifmem.wire.calls import Nothing, Request
from ifmem.wire.shapes import Page

GRANTS = "grants.db"
PREFIX = "ifm_"
MOST_TOKENS = 1_000
PARAMS: dict[str, type[msgspec.Struct]] = {
    "token_create": TokenCreateCall,
    "token_list": Nothing,
    "token_revoke": TokenRevokeCall,
    "token_check": TokenCheckCall,
    "refusal": RefusalCall,
}
"""The methods, and what they take."""

_LONGEST_DAYS = 3_660


class Granting:
    """The verbs of tokens."""

    def __init__(self, home: Path, note: Note, note_grant: NoteGrant = grants_into_log) -> None:
        self._path = home / GRANTS
        self._table: GrantTable | None = None
        self._grants: dict[str, Grant] = {}
        """As in the table: this process alone writes it."""
        self._one_at_a_time = asyncio.Lock()
        self._refusals = AuditedRefusals(note)
        self._note_grant = note_grant

    async def call(self, request: Request) -> Any:
        """Do what a request asks.

        Raises:
            IfMemError: as the verb says; ``Invalid`` for parameters of another shape.
        """
        try:
            params = msgspec.json.decode(request.params, type=PARAMS[request.method])
        except msgspec.MsgspecError as error:
            raise Invalid(f"{request.method}: {error}") from error
        match params:
            case TokenCreateCall():
                return await self.create(params, request.space)
            case TokenRevokeCall():
                return await self.revoke(params)
            case TokenCheckCall():
                return await self.check(params)
            case RefusalCall():
                return await self.refused(params)
            case _:
                return await self.list()

    async def create(self, call: TokenCreateCall, space: str) -> TokenShape:
        """A new token for a name that has none; the only answer that ever shows it.

        Raises:
            Invalid: a name, scope, root or time that cannot be.
            Refused: the name has a token, or the home has too many.
        """
        token = PREFIX + clock.new_secret()
        grant = _granted(call, require_space(space))
        async with self._one_at_a_time:
            table = await self._opened()
            holder = self._of(grant.name)
            if holder is not None and holder[1].refusal(grant.created_at) is None:
                raise Refused(
                    f"{grant.name} has a token already: revoke it with `ifmem token revoke "
                    f"{grant.name}`, or choose another name",
                    name=grant.name,
                )
            if len(self._grants) >= MOST_TOKENS and holder is None:
                raise Refused(
                    f"this home has {MOST_TOKENS:,} names with tokens: use one of these names again"
                )
            await self._note_grant(GrantNote("token_create", grant.name, _terms(grant)))
            sha256 = digest(token)
            await asyncio.to_thread(table.put, sha256, grant)
            if holder is not None:
                del self._grants[holder[0]]
            self._grants[sha256] = grant
        return msgspec.structs.replace(self._shape(grant), token=token)

    async def list(self) -> Page[TokenShape]:
        """Every name that has or had a token."""
        await self._ready()
        grants = sorted(self._grants.values(), key=lambda grant: grant.name)
        return Page([self._shape(grant) for grant in grants])

    async def revoke(self, call: TokenRevokeCall) -> TokenShape:
        """End a token; from now on it is refused. Revoking it again changes nothing.

        Raises:
            NotFound: nobody of that name has or had one.
        """
        async with self._one_at_a_time:
            table = await self._opened()
            holder = self._of(call.name)
            if holder is None:
                raise NotFound(
                    f"nobody here is called {call.name[:60]!r}: `ifmem token list` shows who has "
                    "a token",
                    name=call.name[:60],
                )
            sha256, grant = holder
            if grant.revoked_at is None:
                await self._note_grant(GrantNote("token_revoke", grant.name, _terms(grant)))
                grant = replace(grant, revoked_at=clock.now())
                await asyncio.to_thread(table.put, sha256, grant)
                self._grants[sha256] = grant
        return self._shape(grant)

    async def check(self, call: TokenCheckCall) -> TokenShape:
        """Who holds the token of a digest.

        Raises:
            NotPermitted: nobody, or it has ended; why is told to the audit alone.
        """
        await self._ready()
        grant = self._grants.get(call.sha256)
        reason = "unknown" if grant is None else grant.refusal(clock.now())
        if grant is not None and reason is None:
            return self._shape(grant)
        holder = "-" if grant is None else grant.name
        await self._refusals.add(Refusal(actor=holder, action="token", reason=f"{reason} token"))
        raise NotPermitted("this token is not taken: ask whoever runs this memory for a new one")

    async def refused(self, call: RefusalCall) -> dict[str, Any]:
        """Note in the audit that somebody was refused."""
        await self._refusals.add(
            Refusal(actor=call.actor, action=call.action, reason=call.reason, subject=call.subject)
        )
        return {}

    async def close(self) -> None:
        """Write what was counted, and close the table."""
        self._refusals.close()
        async with self._one_at_a_time:
            if self._table is not None:
                self._table.close()
                self._table = None

    async def _ready(self) -> None:
        if self._table is None:
            async with self._one_at_a_time:
                await self._opened()

    async def _opened(self) -> GrantTable:
        if self._table is None:
            table = await asyncio.to_thread(GrantTable, self._path)
            self._grants = await asyncio.to_thread(table.all)
            self._table = table
        return self._table

    def _of(self, name: str) -> tuple[str, Grant] | None:
        return next((held for held in self._grants.items() if held[1].name == name), None)

    def _shape(self, grant: Grant) -> TokenShape:
        return TokenShape(
            name=grant.name,
            space=grant.space,
            scopes=sorted(grant.scopes),
            roots=list(grant.roots),
            trust=grant.trust,
            state=grant.refusal(clock.now()) or "active",
            created_at=clock.stamp(grant.created_at),
            expires_at=None if grant.expires_at is None else clock.stamp(grant.expires_at),
            revoked_at=None if grant.revoked_at is None else clock.stamp(grant.revoked_at),
        )


def digest(token: str) -> str:
    """What is kept of a token."""
    return hashlib.sha256(token.encode()).hexdigest()


def _granted(call: TokenCreateCall, space: str) -> Grant:
    now = clock.now()
    return Grant(
        name=require_harmless(require_name(call.name, "name of a token"), "name of a token"),
        space=space,
        scopes=_scopes(call.scopes),
        roots=_roots(call.roots),
        trust=Trust.QUARANTINED if call.quarantine else Trust.AGENT,
        created_at=now,
        expires_at=None if call.expires_seconds is None else now + _life(call.expires_seconds),
    )


def _terms(grant: Grant) -> str:
    ends = "never" if grant.expires_at is None else clock.stamp(grant.expires_at)
    scopes = ", ".join(sorted(grant.scopes))
    return f"{scopes} in space {grant.space}, trust {grant.trust}, expires {ends}"


def _scopes(names: tuple[str, ...]) -> frozenset[Scope]:
    known = ", ".join(Scope)
    if not names:
        raise Invalid(f"a token without a scope can do nothing: name some of {known}")
    for name in names:
        if name not in set(Scope):
            raise Invalid(f"there is no scope {name[:40]!r}: choose among {known}", scope=name[:40])
    return frozenset(Scope(name) for name in names)


def _roots(roots: tuple[str, ...]) -> tuple[str, ...]:
    for root in roots:
        if not Path(root).is_absolute():
            raise Invalid(f"the root {root[:200]!r} is no absolute path: give the whole path")
        require_harmless(root, "root")
    return tuple(dict.fromkeys(roots))


def _life(seconds: float) -> timedelta:
    longest = timedelta(days=_LONGEST_DAYS)
    if not isfinite(seconds) or not 0 < seconds <= longest.total_seconds():
        raise Invalid(
            f"a token cannot live for {seconds:,.0f} seconds: choose more than none and at most "
            f"{_LONGEST_DAYS:,} days, or leave the end out"
        )
    return timedelta(seconds=seconds)
