"""Who holds a bearer token: looked up among the home's own tokens, or read from a signed JWT."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import jwt
from mcp.server.auth.provider import AccessToken
from pydantic import SkipValidation

from ifmem.domain.finding import Trust
from ifmem.domain.grant import Scope
from ifmem.domain.message import require_name
from ifmem.errors import ConfigError, IfMemError, Invalid, NotPermitted
from ifmem.mcp_server.port import Caller, Calls
from ifmem.settings import ServeSettings
from ifmem.wire.agent_calls import RefusalCall, TokenCheckCall, TokenShape

ASYMMETRIC = frozenset(
    {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
)
"""A shared secret would let whoever checks a token make one."""
_NEEDED_CLAIMS = ("exp", "nbf", "iss", "aud")
_LEEWAY_SECONDS = 10
_MOST_CHARACTERS = 16_000
_MOST_BYTES_OF_KEYS = 1024 * 1024


class CallerToken(AccessToken):
    """A token that is taken, and who calls with it."""

    caller: SkipValidation[Caller]


class Verifier(Protocol):
    """Says who holds a token."""

    async def verify_token(self, token: str) -> CallerToken | None:
        """Who holds it; None when it is not taken.

        Raises:
            Unavailable: that cannot be found out now.
        """
        ...


class TokenTable:
    """The home's own tokens. The daemon is asked each time, so that a revoked one ends at once."""

    def __init__(self, calls: Calls, space: str) -> None:
        self._calls = calls
        self._space = space

    async def verify_token(self, token: str) -> CallerToken | None:
        """As ``Verifier`` says; the daemon audits what it refuses."""
        sha256 = hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()
        try:
            shape = await self._calls.call(
                "token_check", TokenCheckCall(sha256), returns=TokenShape, space=self._space
            )
        except NotPermitted:
            return None
        caller = Caller(
            agent=shape.name,
            space=shape.space,
            roots=tuple(shape.roots),
            scopes=frozenset(Scope(one) for one in shape.scopes),
            trust=Trust(shape.trust),
            connection=f"token:{shape.name}",
        )
        # The name may be given again after this token has ended: what was begun with the one
        # before must not go on with its successor, so the moment of its making is part of who.
        issuer = {"iss": f"ifmem {shape.created_at}"}
        return CallerToken(
            token=token, client_id=shape.name, scopes=shape.scopes, claims=issuer, caller=caller
        )


class SignedTokens:
    """JWTs of one issuer, made for one audience, signed with one of the keys in a file."""

    def __init__(self, settings: ServeSettings, calls: Calls, space: str) -> None:
        """Read the keys.

        Raises:
            ConfigError: a setting is missing, or the file has no usable key.
        """
        for name in ("issuer", "audience", "jwks"):
            if not getattr(settings, name):
                raise ConfigError(
                    f"serve.{name} is empty: JWTs need serve.issuer, serve.audience and "
                    "serve.jwks; set all three or none",
                    setting=f"serve.{name}",
                )
        self._issuer = settings.issuer
        self._audience = settings.audience
        self._keys = KeyFile(Path(settings.jwks).expanduser())
        self._calls = calls
        self._space = space
        if not self._keys.current():
            raise ConfigError(
                f"{settings.jwks} holds no public key of a JWK set: serve.jwks must name one",
                setting="serve.jwks",
            )

    async def verify_token(self, token: str) -> CallerToken | None:
        """As ``Verifier`` says; refusals are audited, without what the token says of itself."""
        try:
            return self._taken(token)
        except (jwt.PyJWTError, Invalid, ValueError, TypeError, OverflowError) as error:
            refusal = RefusalCall(actor="-", action="token", reason=f"JWT: {_reason(error)}")
            await note(self._calls, refusal, self._space)
            return None

    def _taken(self, token: str) -> CallerToken:
        if len(token) > _MOST_CHARACTERS:
            raise Invalid("too long")
        header = jwt.get_unverified_header(token)
        key = self._keys.named(header.get("kid"))
        if key is None:
            raise Invalid("unknown key")
        claims = jwt.decode(
            token,
            key=key,
            algorithms=list(ASYMMETRIC),
            audience=self._audience,
            issuer=self._issuer,
            leeway=_LEEWAY_SECONDS,
            options={"require": list(_NEEDED_CLAIMS)},
        )
        agent = require_name(_text(claims, "client_id") or _text(claims, "sub"), "agent")
        scopes = _scopes(claims.get("scope"))
        caller = Caller(
            agent=agent,
            space=self._space,
            scopes=scopes,
            # Not of the tokens of the same name: neither may use up what is the other's.
            connection=f"jwt:{agent}",
        )
        return CallerToken(
            token=token,
            client_id=agent,
            scopes=sorted(scopes),
            expires_at=int(claims["exp"]) + _LEEWAY_SECONDS,
            subject=_text(claims, "sub"),
            claims={"iss": self._issuer},
            caller=caller,
        )


class EitherVerifier:
    """The home's own tokens by their first letters, and JWTs of the issuer."""

    def __init__(self, table: TokenTable, signed: SignedTokens | None) -> None:
        self._table = table
        self._signed = signed

    async def verify_token(self, token: str) -> CallerToken | None:
        """As ``Verifier`` says."""
        if self._signed is not None and not token.startswith("ifm_"):
            return await self._signed.verify_token(token)
        return await self._table.verify_token(token)


class KeyFile:
    """The public keys of a JWK set in a file, read again when it changes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read_at: tuple[int, int] | None = None
        self._keys: dict[str | None, jwt.PyJWK] = {}

    def named(self, name: object) -> jwt.PyJWK | None:
        """The key of a name; a token that names none takes the only key there is."""
        keys = self.current()
        if name is None:
            return next(iter(keys.values())) if len(keys) == 1 else None
        return keys.get(name) if isinstance(name, str) else None

    def current(self) -> Mapping[str | None, jwt.PyJWK]:
        """The keys in the file as it is now; none when it cannot be read."""
        try:
            status = self._path.stat()
            stamp = (status.st_mtime_ns, status.st_size)
            if stamp != self._read_at:
                self._keys = self._read() if status.st_size <= _MOST_BYTES_OF_KEYS else {}
                self._read_at = stamp
        except (OSError, ValueError):
            # Whoever takes the keys away means that no token is taken.
            self._keys, self._read_at = {}, None
        return self._keys

    def _read(self) -> dict[str | None, jwt.PyJWK]:
        tree = json.loads(self._path.read_bytes())
        entries = tree.get("keys") if isinstance(tree, dict) else None
        keys: dict[str | None, jwt.PyJWK] = {}
        for entry in entries if isinstance(entries, list) else []:
            try:
                key = jwt.PyJWK.from_dict(entry)
            except (jwt.PyJWTError, AttributeError, TypeError, ValueError):
                continue
            is_public = key.algorithm_name in ASYMMETRIC and "d" not in entry
            if is_public and entry.get("use", "sig") == "sig":
                keys[key.key_id] = key
        return keys


def verifier(settings: ServeSettings, calls: Calls, space: str) -> EitherVerifier:
    """What takes the tokens that the settings say.

    Raises:
        ConfigError: JWTs are wanted and cannot be checked.
    """
    wanted = settings.issuer or settings.audience or settings.jwks
    signed = SignedTokens(settings, calls, space) if wanted else None
    return EitherVerifier(TokenTable(calls, space), signed)


async def note(calls: Calls, refusal: RefusalCall, space: str) -> None:
    """Have a refusal audited; one that cannot be must not hide why somebody was refused."""
    try:
        await calls.call("refusal", refusal, returns=dict, space=space)
    except IfMemError:
        return


def _text(claims: Mapping[str, Any], name: str) -> str | None:
    value = claims.get(name)
    return value if isinstance(value, str) and value else None


def _scopes(claim: object) -> frozenset[Scope]:
    named = claim.split() if isinstance(claim, str) else claim if isinstance(claim, list) else []
    return frozenset(scope for scope in Scope if scope in named)


_REASONS = {
    jwt.ExpiredSignatureError: "expired",
    jwt.ImmatureSignatureError: "not valid yet",
    jwt.InvalidAudienceError: "for another audience",
    jwt.InvalidIssuerError: "of another issuer",
    jwt.InvalidSignatureError: "a signature of somebody else",
    jwt.InvalidAlgorithmError: "an algorithm that is not taken",
    jwt.MissingRequiredClaimError: "a claim is missing",
}


def _reason(error: Exception) -> str:
    if isinstance(error, Invalid):
        return error.message
    return next((said for kind, said in _REASONS.items() if isinstance(error, kind)), "no JWT")
