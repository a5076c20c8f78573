"""Tokens are made once, checked by their digest, and end when they are told to."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ifmem import clock
from ifmem.engine.masking import mask
from ifmem.engine.refusals import Refusal
from ifmem.errors import IfMemError, Invalid, NotFound, NotPermitted, Refused
from ifmem.runtime.forwarded import _permitted
from ifmem.runtime.granting import PARAMS, Granting, digest
from ifmem.runtime.verbs import decoded
from ifmem.wire.agent_calls import (
    RefusalCall,
    TokenCheckCall,
    TokenCreateCall,
    TokenRevokeCall,
    TokenShape,
)
from ifmem.wire.calls import Nothing, Request
from ifmem.wire.forwarded import ForwardedCall

Use = Callable[[Granting], Coroutine[Any, Any, None]]


class Audit(list[Refusal]):
    """What was noted."""

    def note(self, refusal: Refusal) -> None:
        self.append(refusal)

    @property
    def said(self) -> list[tuple[str, str, str]]:
        return [one.kind for one in self]


@asynccontextmanager
async def granting(home: Path, audit: Audit) -> AsyncIterator[Granting]:
    made = Granting(home, audit.note)
    try:
        yield made
    finally:
        await made.close()


def run(home: Path, use: Use) -> Audit:
    async def inside() -> None:
        async with granting(home, audit) as made:
            await use(made)

    audit = Audit()
    asyncio.run(inside())
    return audit


async def create(made: Granting, name: str, space: str = "default", **rest: Any) -> TokenShape:
    return await made.create(TokenCreateCall(name, **rest), space)


async def check(made: Granting, token: str | None) -> TokenShape:
    return await made.check(TokenCheckCall(digest(token or "")))


def test_a_token_names_its_holder_space_scopes_and_roots(tmp_path: Path) -> None:
    async def use(made: Granting) -> None:
        created = await create(
            made,
            "ada",
            "acme",
            scopes=("write", "read"),
            roots=("/srv/b", "/srv/a", "/srv/b"),
            quarantine=True,
        )
        assert created.token is not None
        assert re.fullmatch(r"ifm_[A-Za-z0-9_-]{43}", created.token)
        found = await check(made, created.token)
        assert found == msgspec.structs.replace(created, token=None)
        assert (found.name, found.space, found.trust) == ("ada", "acme", "quarantined")
        assert (found.scopes, found.roots) == (["read", "write"], ["/srv/b", "/srv/a"])

    assert run(tmp_path, use) == []


def test_a_token_survives_a_restart_and_is_nowhere_in_clear(tmp_path: Path) -> None:
    tokens: list[str] = []

    async def make(made: Granting) -> None:
        created = await create(made, "ada")
        tokens.append(created.token or "")

    async def find(made: Granting) -> None:
        assert (await check(made, tokens[0])).name == "ada"

    run(tmp_path, make)
    run(tmp_path, find)
    assert [path.name for path in tmp_path.iterdir()] == ["grants.db"]
    stored = (tmp_path / "grants.db").read_bytes()
    assert tokens[0].removeprefix("ifm_").encode() not in stored
    assert digest(tokens[0]).encode() in stored


def test_an_unknown_a_revoked_and_an_expired_token_are_told_the_same(tmp_path: Path) -> None:
    messages: set[str] = set()

    async def use(made: Granting) -> None:
        revoked = await create(made, "eve")
        await made.revoke(TokenRevokeCall("eve"))
        expired = await create(made, "old", expires_seconds=1e-6)
        for token in (None, revoked.token, expired.token):
            with pytest.raises(NotPermitted) as refused:
                await check(made, token)
            messages.add(refused.value.message)
            assert refused.value.facts == {}

    audit = run(tmp_path, use)
    assert len(messages) == 1
    assert audit.said == [
        ("-", "token", "unknown token"),
        ("eve", "token", "revoked token"),
        ("old", "token", "expired token"),
    ]


def test_a_revoked_token_ends_at_once_and_revoking_it_again_changes_nothing(
    tmp_path: Path,
) -> None:
    async def use(made: Granting) -> None:
        created = await create(made, "ada")
        first = await made.revoke(TokenRevokeCall("ada"))
        again = await made.revoke(TokenRevokeCall("ada"))
        assert first == again
        assert first.state == "revoked"
        with pytest.raises(NotPermitted):
            await check(made, created.token)

    run(tmp_path, use)


def test_a_name_has_one_token_at_a_time_and_may_have_another_after_it(tmp_path: Path) -> None:
    async def use(made: Granting) -> None:
        first = await create(made, "ada")
        with pytest.raises(Refused, match="ifmem token revoke ada"):
            await create(made, "ada")
        assert (await check(made, first.token)).name == "ada"
        await made.revoke(TokenRevokeCall("ada"))
        second = await create(made, "ada", "other")
        assert (await check(made, second.token)).space == "other"
        with pytest.raises(NotPermitted):
            await check(made, first.token)
        await create(made, "brief", expires_seconds=1e-6)
        assert (await create(made, "brief")).state == "active"
        assert [one.name for one in await made.list()] == ["ada", "brief"]
        assert all(one.token is None for one in await made.list())

    run(tmp_path, use)


def test_two_at_once_for_one_name_make_one_token(tmp_path: Path) -> None:
    async def use(made: Granting) -> None:
        outcomes: list[TokenShape | IfMemError] = []

        async def one() -> None:
            try:
                outcomes.append(await create(made, "ada"))
            except Refused as error:
                outcomes.append(error)

        async with asyncio.TaskGroup() as group:
            for _ in range(5):
                group.create_task(one())
        assert sum(isinstance(one, TokenShape) for one in outcomes) == 1

    run(tmp_path, use)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"name": ""}, "is no name"),
        ({"name": "two words"}, "is no name"),
        ({"scopes": ()}, "read, write, admin"),
        ({"scopes": ("read", "root")}, "there is no scope 'root'"),
        ({"roots": ("docs",)}, "no absolute path"),
        ({"expires_seconds": 0.0}, "leave the end out"),
        ({"expires_seconds": float("inf")}, "leave the end out"),
        ({"expires_seconds": float("nan")}, "leave the end out"),
    ],
)
def test_what_cannot_be_granted_is_told_and_nothing_is_made(
    fields: dict[str, Any], told: str, tmp_path: Path
) -> None:
    async def use(made: Granting) -> None:
        with pytest.raises(Invalid, match=told):
            await create(made, **{"name": "ada", **fields})
        assert (await made.list()).items == []

    run(tmp_path, use)


def test_nobody_unknown_can_be_revoked(tmp_path: Path) -> None:
    async def use(made: Granting) -> None:
        with pytest.raises(NotFound, match="ifmem token list"):
            await made.revoke(TokenRevokeCall("nobody"))

    run(tmp_path, use)


def test_the_same_refusal_many_times_is_one_row_and_one_with_the_count(tmp_path: Path) -> None:
    async def use(made: Granting) -> None:
        for _ in range(100):
            await made.refused(RefusalCall("ada", "mcp forget", "needs the scope admin", "x"))

    audit = run(tmp_path, use)
    assert [one.reason for one in audit] == [
        "needs the scope admin",
        "needs the scope admin (99 more times within a minute)",
    ]


def test_credentials_in_what_was_refused_do_not_enter_the_audit(tmp_path: Path) -> None:
    token = "ifm_" + clock.new_secret()

    async def use(made: Granting) -> None:
        await made.refused(RefusalCall(token, f"a {token}", "x" * 480 + f" {token}", token * 50))

    (row,) = run(tmp_path, use)
    assert token[4:14] not in repr(row)
    assert len(row.reason) <= 500


def test_every_token_that_is_made_is_masked_wherever_it_stands() -> None:
    for _ in range(300):
        token = "ifm_" + clock.new_secret()
        assert mask(f"use {token}.").text == "use [masked:ifmem-token]."


@pytest.mark.parametrize("method", PARAMS)
def test_no_caller_on_the_bus_reaches_a_verb_of_tokens(method: str) -> None:
    call = ForwardedCall("1", "elsewhere", method, 0)
    with pytest.raises(Refused, match=method):
        _permitted(_AnySpace(), call)  # type: ignore[arg-type]
    with pytest.raises(Invalid, match="there is no method"):
        decoded(Request(1, method, "default", msgspec.Raw(b"{}")))


class _AnySpace:
    name = "default"


def test_parameters_of_another_shape_are_refused(tmp_path: Path) -> None:
    async def use(made: Granting) -> None:
        with pytest.raises(Invalid, match="token_create"):
            await made.call(Request(1, "token_create", "default", msgspec.Raw(b'{"names": 1}')))
        listed = msgspec.Raw(msgspec.json.encode(Nothing()))
        assert (await made.call(Request(1, "token_list", "default", listed))).items == []

    run(tmp_path, use)
