"""Checkpoints of the audit: signed with a key that lies elsewhere than what they vouch for."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from ifmem.errors import ConfigError, Invalid, NotPermitted
from ifmem.wire.audit_calls import Checkpoint

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )


def make_key(file: Path) -> str:
    """Write a new private key, for its owner only; its public half in hex.

    Raises:
        NotPermitted: the file is there already, or cannot be written.
        ConfigError: the extra is not installed.
    """
    _require_extra()
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    try:
        made = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError as error:
        raise NotPermitted(f"{file} is there already: name a file that is not") from error
    except OSError as error:
        raise NotPermitted(f"{file} cannot be written ({error.strerror})") from error
    with os.fdopen(made, "wb") as opened:
        opened.write(pem)
    return _hex(key.public_key())


def sign(checkpoint: Checkpoint, file: Path) -> Checkpoint:
    """The checkpoint, signed with the private key in a PEM file.

    Raises:
        Invalid: the file cannot be read, or holds no Ed25519 key without a password.
        ConfigError: the extra is not installed.
    """
    key = _private_key(file)
    named = msgspec.structs.replace(checkpoint, public_key=_hex(key.public_key()))
    return msgspec.structs.replace(named, signature=key.sign(_said(named)).hex())


def read(said: Mapping[str, Any], public_key: str = "") -> Checkpoint:
    """A checkpoint whose signature is right.

    Args:
        said: as it was printed.
        public_key: the one it must be signed with, in hex; empty for the one it names itself.

    Raises:
        Invalid: it is no checkpoint, or not signed with that key.
        ConfigError: the extra is not installed.
    """
    _require_extra()
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        checkpoint = msgspec.convert(dict(said), Checkpoint)
    except msgspec.ValidationError as error:
        raise Invalid(f"this is no checkpoint of an audit: {error}") from error
    wanted = public_key.strip().lower() or checkpoint.public_key
    if checkpoint.public_key != wanted:
        raise Invalid(
            f"the checkpoint names the key {checkpoint.public_key[:16]}…, not {wanted[:16]}…",
            public_key=checkpoint.public_key,
        )
    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(wanted))
        key.verify(bytes.fromhex(checkpoint.signature), _said(checkpoint))
    except (ValueError, InvalidSignature) as error:
        raise Invalid(
            "the checkpoint is not signed with the key it names: it was changed after it was made"
        ) from error
    return checkpoint


def _said(checkpoint: Checkpoint) -> bytes:
    fields = msgspec.to_builtins(checkpoint)
    del fields["signature"]
    return json.dumps(fields, ensure_ascii=True, separators=(",", ":"), sort_keys=True).encode()


def _private_key(file: Path) -> Ed25519PrivateKey:
    _require_extra()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    try:
        key = serialization.load_pem_private_key(file.read_bytes(), password=None)
    except OSError as error:
        raise Invalid(
            f"the key {file} cannot be read ({error.strerror}): `ifmem audit keygen {file}` makes "
            "one"
        ) from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise Invalid(f"{file} holds no private key that is readable without a password") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise Invalid(f"the key in {file} is not an Ed25519 key: `ifmem audit keygen` makes one")
    return key


def _hex(key: Ed25519PublicKey) -> str:
    return key.public_bytes_raw().hex()


def _require_extra() -> None:
    try:
        import cryptography  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            "checkpoints are signed by an extra that is not installed: "
            "run `pip install 'ifmem[mcp]'`, or `pip install cryptography`"
        ) from error
