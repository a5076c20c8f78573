"""JWTs of one issuer are taken when everything about them is right, and only then."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from ifmem import clock
from ifmem.domain.grant import Scope
from ifmem.errors import ConfigError, NotPermitted, Unavailable
from ifmem.mcp_server.port import Caller
from ifmem.mcp_server.verifiers import CallerToken, verifier
from ifmem.settings import ServeSettings
from ifmem.wire.agent_calls import RefusalCall, TokenCheckCall

ISSUER = "https://login.example.org"
AUDIENCE = "https://memory.example.org/mcp"


@cache
def key(name: str) -> Any:
    """A key made for this run."""
    match name:
        case "ec":
            return ec.generate_private_key(ec.SECP256R1())
        case "ed":
            return ed25519.Ed25519PrivateKey.generate()
        case _:
            return rsa.generate_private_key(public_exponent=65_537, key_size=2_048)


ALGORITHMS = {"rsa": "RS256", "ec": "ES256", "ed": "EdDSA", "stranger": "RS256"}
_JWK: dict[str, Callable[..., Any]] = {
    "rsa": jwt.algorithms.RSAAlgorithm.to_jwk,
    "ec": jwt.algorithms.ECAlgorithm.to_jwk,
    "ed": jwt.algorithms.OKPAlgorithm.to_jwk,
}


def public(name: str, **fields: Any) -> dict[str, Any]:
    jwk = _JWK[name](key(name).public_key(), as_dict=True)
    return {**jwk, "kid": name, "alg": ALGORITHMS[name], "use": "sig", **fields}


class Home:
    """Answers as a daemon does, for tokens and refusals alone."""

    def __init__(self) -> None:
        self.refusals: list[RefusalCall] = []
        self.asked = 0
        self.is_away = False

    async def call(self, method: str, params: Any, **rest: Any) -> Any:
        if self.is_away:
            raise Unavailable("no daemon")
        match params:
            case RefusalCall():
                self.refusals.append(params)
                return {}
            case TokenCheckCall():
                self.asked += 1
                raise NotPermitted("this token is not taken")
        raise AssertionError(method)


class Gate:
    """A verifier with its keys, and who it lets in."""

    def __init__(self, folder: Path, *names: str) -> None:
        self.file = folder / "keys.json"
        self.home = Home()
        self.put([public(name) for name in names])
        settings = ServeSettings(issuer=ISSUER, audience=AUDIENCE, jwks=str(self.file))
        self._verifier = verifier(settings, self.home, "acme")

    def put(self, keys: list[dict[str, Any]]) -> None:
        self.file.write_text(json.dumps({"keys": keys}))

    def __call__(self, token: str) -> CallerToken | None:
        return asyncio.run(self._verifier.verify_token(token))

    @property
    def reason(self) -> str:
        (refusal,) = self.home.refusals
        assert refusal.actor == "-"
        return refusal.reason


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate(tmp_path, "rsa", "ec", "ed")


def claims(**changed: Any) -> dict[str, Any]:
    now = clock.now()
    made = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "user-7",
        "client_id": "ada",
        "scope": "read write openid",
        "nbf": now - timedelta(minutes=1),
        "exp": now + timedelta(minutes=5),
        **changed,
    }
    return {name: value for name, value in made.items() if value is not None}


def signed(by: str = "rsa", headers: dict[str, Any] | None = None, **changed: Any) -> str:
    given = {"kid": by} if headers is None else headers
    return jwt.encode(claims(**changed), key(by), algorithm=ALGORITHMS[by], headers=given)


@pytest.mark.parametrize("by", ["rsa", "ec", "ed"])
def test_a_good_one_says_who_calls_and_what_they_may(gate: Gate, by: str) -> None:
    token = gate(signed(by))
    assert token is not None
    assert token.caller == Caller(
        agent="ada",
        space="acme",
        scopes=frozenset({Scope.READ, Scope.WRITE}),
        connection="jwt:ada",
    )
    assert gate.home.refusals == []


def test_who_has_no_client_is_called_by_its_subject_and_no_scope_is_none(gate: Gate) -> None:
    token = gate(signed(client_id=None, scope=None))
    assert token is not None
    assert (token.caller.agent, token.caller.scopes) == ("user-7", frozenset())


LATE = clock.now() - timedelta(minutes=1)
SOON = clock.now() + timedelta(days=1)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"exp": LATE}, "JWT: expired"),
        ({"nbf": SOON}, "JWT: not valid yet"),
        ({"aud": "https://other.example.org"}, "JWT: for another audience"),
        ({"iss": "https://other.example.org"}, "JWT: of another issuer"),
        ({"exp": None}, "JWT: a claim is missing"),
        ({"nbf": None}, "JWT: a claim is missing"),
        ({"aud": None}, "JWT: a claim is missing"),
        ({"iss": None}, "JWT: a claim is missing"),
        ({"client_id": None, "sub": None}, "is no name"),
        ({"client_id": "two words"}, "is no name"),
        ({"client_id": "../../etc"}, "is no name"),
    ],
)
def test_one_with_a_wrong_claim_is_refused_and_the_audit_knows_why(
    gate: Gate, changed: dict[str, Any], reason: str
) -> None:
    assert gate(signed(**changed)) is None
    assert reason in gate.reason


def test_one_signed_by_a_stranger_is_refused(gate: Gate) -> None:
    assert gate(signed("stranger", headers={"kid": "rsa"})) is None
    assert gate.reason == "JWT: a signature of somebody else"


def test_one_that_names_an_unknown_key_or_none_is_refused(gate: Gate) -> None:
    assert gate(signed(headers={"kid": "nobody"})) is None
    assert gate(signed(headers={})) is None
    assert [one.reason for one in gate.home.refusals] == ["JWT: unknown key"] * 2


def test_one_that_names_no_key_is_taken_when_there_is_only_one(tmp_path: Path) -> None:
    assert Gate(tmp_path, "rsa")(signed(headers={})) is not None


def test_one_without_a_signature_is_refused(gate: Gate) -> None:
    unsigned = jwt.encode(claims(), None, algorithm="none", headers={"kid": "rsa"})
    assert gate(unsigned) is None
    head, body, _ = signed().split(".")
    assert gate(f"{head}.{body}.") is None


def test_a_public_key_is_not_taken_for_a_shared_secret(gate: Gate) -> None:
    from cryptography.hazmat.primitives import serialization

    pem = (
        key("rsa")
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    header = {"alg": "HS256", "typ": "JWT", "kid": "rsa"}
    parts = [json.dumps(header), json.dumps({**claims(), "nbf": 0, "exp": 2**33})]
    signing = b".".join(jwt.utils.base64url_encode(part.encode()) for part in parts)
    import hashlib
    import hmac

    mark = jwt.utils.base64url_encode(hmac.digest(pem, signing, hashlib.sha256))
    assert gate((signing + b"." + mark).decode()) is None


@pytest.mark.parametrize(
    "token", ["", ".", "..", "a.b.c", "x" * 100_000, "é.é.é", "\udcff", "eyJ9.eyJ9.x"]
)
def test_what_is_no_jwt_is_refused(gate: Gate, token: str) -> None:
    assert gate(token) is None
    assert len(gate.home.refusals) == 1


def test_keys_are_read_again_when_they_change_and_none_are_taken_when_they_are_gone(
    gate: Gate,
) -> None:
    assert gate(signed("ec")) is not None
    gate.put([public("rsa")])
    _later(gate.file)
    assert gate(signed("ec")) is None
    assert gate(signed("rsa")) is not None
    gate.file.write_text("no keys")
    _later(gate.file)
    assert gate(signed("rsa")) is None
    gate.file.unlink()
    assert gate(signed("rsa")) is None


def _later(path: Path) -> None:
    """Another time of change than before, however coarse the clock of the disk is."""
    moment = path.stat().st_mtime_ns + 10**9
    os.utime(path, ns=(moment, moment))


def test_shared_and_private_keys_in_the_file_are_no_keys(tmp_path: Path) -> None:
    gate = Gate(tmp_path, "rsa")
    private = {**jwt.algorithms.RSAAlgorithm.to_jwk(key("rsa"), as_dict=True), "kid": "private"}
    shared = {"kty": "oct", "k": "c2hhcmVkLXNlY3JldA", "kid": "shared", "alg": "HS256"}
    gate.put([private, shared, {"kty": "unknown"}, public("rsa", use="enc", kid="enc")])
    _later(gate.file)
    for name in ("private", "shared", "enc"):
        assert gate(signed(headers={"kid": name})) is None


def test_the_homes_own_tokens_are_asked_for_at_the_daemon(gate: Gate) -> None:
    assert gate("ifm_" + "not-a-real-token-" * 3) is None
    assert gate.home.asked == 1
    assert gate.home.refusals == []


def test_a_daemon_that_is_away_refuses_nobody(gate: Gate) -> None:
    gate.home.is_away = True
    with pytest.raises(Unavailable):
        gate("ifm_" + "not-a-real-token-" * 3)
    assert gate(signed()) is not None
    assert gate(signed(exp=LATE)) is None


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"audience": ""}, r"serve\.audience is empty"),
        ({"issuer": ""}, r"serve\.issuer is empty"),
        ({"jwks": ""}, r"serve\.jwks is empty"),
        ({"jwks": "absent.json"}, "holds no public key"),
    ],
)
def test_settings_that_cannot_work_are_told_before_anybody_comes(
    gate: Gate, fields: dict[str, str], told: str
) -> None:
    given = {"issuer": ISSUER, "audience": AUDIENCE, "jwks": str(gate.file), **fields}
    with pytest.raises(ConfigError, match=told):
        verifier(ServeSettings(**given), gate.home, "acme")
