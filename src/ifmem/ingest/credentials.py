"""Which paths hold credentials by their name, so that they are never read unless told."""

from __future__ import annotations

import re

FOLDERS = frozenset({".ssh", ".gnupg", ".aws", ".azure", ".password-store"})
"""Folders in which every file is one of these."""

_EXAMPLES = (".example", ".sample", ".template", ".tmpl", ".dist")
_NAMES = re.compile(
    r"""
    \.env.*                                             # settings of one deployment
    | .*\.env
    | (?:ssh_host_|id_)(?:rsa|dsa|ecdsa|ed25519|ecdsa_sk|ed25519_sk)(?:_key)?   # not the .pub
    | .*\.(?: pem | key | p8 | p12 | pfx | pkcs12 | ppk | jks | jceks | bks | keystore
            | kdb | kdbx | agilekeychain | keychain | keychain-db | tfstate )
    | [._]netrc | \.pgpass | \.my\.cnf | \.npmrc | \.pypirc | \.dockercfg | \.htpasswd
    | \.git-credentials | \.vault-token | \.s3cfg | \.boto | rclone\.conf | wallet\.dat
    | application_default_credentials\.json
    """,
    re.VERBOSE | re.IGNORECASE | re.DOTALL,
)
_PLACES = (".docker/config.json", ".kube/config", ".cargo/credentials.toml", ".config/gh/hosts.yml")


def by_name(path: str, name: str) -> bool:
    """Whether a file of this name, at this place, holds credentials."""
    if _NAMES.fullmatch(name):
        return not name.lower().endswith(_EXAMPLES)
    return path.endswith(_PLACES)


def in_guarded_folder(path: str) -> bool:
    """Whether a folder on the way to ``path``, or ``path`` itself, is kept for credentials."""
    return not FOLDERS.isdisjoint(path.split("/"))
