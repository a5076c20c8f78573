"""Values assigned to names that say they are credentials: ``password = …``, ``api_key: …``.

The name alone proves nothing (``token = next_token()``), so the value must look like a secret
literal: no words, no expression, no path, no placeholder. Names of passwords ask for less than
names of tokens, because people choose passwords and machines choose tokens.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ifmem.engine.credentials import Found, looks_random

# Each scan stops at the end of the word in a name; what may follow is the rest of the name.
_SCANS = tuple(
    re.compile(scan)
    for scan in (
        rb"p(?:assw(?:or)?d|assphrase|wd)",
        rb"k(?:ey)(?=(?:[_\-][\w\-]{0,30})?\\?[\"'`]?\]?\s{0,3}(?::|=|>| [^ ]))",
    )
)
_WORDS = (b"secret", b"token")
_KEY_OWNERS = (
    b"api access account admin app application auth bot client consumer crypt cipher deploy "
    b"encryption hmac jwt license live master private prod production secret server service "
    b"shared signing ssh storage subscription webhook"
)
_OWNED_KEY = re.compile(rb"(?:" + rb"|".join(_KEY_OWNERS.split()) + rb")[_\-. ]?key\Z")

_REST_OF_NAME = re.compile(
    r"(?P<suffix>(?:[_\-A-Z0-9][\w\-]{0,30})?)"
    r"(?:\\?[\"'`])?\]?"
    r"(?:\s{0,3}:\s{0,3}[A-Za-z_][\w.\[\]| ]{0,40}?(?=\s{0,3}=))?"
    r"(?P<sign>\s{0,8}(?:=>|:=|\?=|=(?!=)|:(?!:)|>)\s{0,3}|[ ]{1,3})"
)
_QUOTED = re.compile(
    r"[rbuRBU]?(?P<quote>\\?[\"'`])(?P<value>(?:(?!(?P=quote))[^\n]){4,400})(?P=quote)"
)
_BARE = re.compile(r"(?P<value>[^\s\"'`,;&<>()\[\]{}|\\]{6,400}+)")
_AUTHORIZATION = re.compile(
    r"(?i:authorization)(?:\\?[\"'`])?\]?\s{0,3}[:=,]\s{0,3}[fFrRbB]?(?P<quote>(?:\\?[\"'`])?)"
    r"(?P<scheme>(?:(?i:bearer|basic|token|apikey|negotiate)[ ]{1,3})?)"
    r"(?P<value>[A-Za-z0-9._~+/=\-]{8,}+)(?![(\[{])"
)
_BEARER = re.compile(r"(?i:bearer)\s{1,3}(?P<value>[A-Za-z0-9._~+/=\-]{16,}+)")

# What follows the word makes another thing of it: `token_count`, `password_field`.
_OTHER_THINGS_TEXT = """
    algorithm arn attribute available budget cache callback changed char class col column cost
    count counter created dir doc duration enabled endpoint error event expires expiry field
    file filename format function hint id index input izer ize kind label len length level
    limit list location manager max message method min mode model name names number offset
    param path pattern placeholder policy position prefix prompt provider ref regex required
    reset role s schema scope size spec start state status store text ttl type types uri url
    usage version
"""
_OTHER_THINGS = frozenset(_OTHER_THINGS_TEXT.split())
_PLACEHOLDER = re.compile(
    r"(?i)\A(?:[$<{%]|\*{2}|x{4}|\.{3}|[./~]{1,2}/|/|env[:.]|process\.env|os\.|vault:|ref\+"
    r"|your[-_ ]|my[-_ ]?(?:pass|secret|token|key)|(?:change|replace)[-_ ]?me|example|redacted"
    r"|none\b|null\b|true\b|false\b|self\.|this\.)|\$\{|\{\{|\}|://|\[masked:|%\(|%s"
)
_IDENTIFIER = re.compile(r"[A-Za-z_$][\w$]*(?:(?:\.|->|::)[A-Za-z_$][\w$]*)*+\Z")
_TYPE_NAME = re.compile(
    r"(?i)\A(?:u?int|float|bytes|string|str|utf|base|sha|md|varchar|char|v)\d+\Z"
)
_DIGITS = re.compile(r"\d")
_LETTERS = re.compile(r"[^\W\d_]")
_SPECIAL = re.compile(r"[!@#$^&*?+=]")
_JUDGED = 100
_LONGEST_NAME = 40
_NAME_BEFORE = re.compile(r"[\w\-]++\Z")
_PARTS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")


def find_assignments(text: str, folded: bytes) -> Iterator[Found]:
    """Every value of a credential's name that looks like a secret literal, in no order.

    Args:
        text: the text to search.
        folded: the same text in one lower-case byte per character, so that positions agree.
    """
    for start, end in _names(folded):
        found = _value_after(text, folded, start, end)
        if found is not None:
            yield found
    for at in _positions(folded, b"authorization"):
        match = _AUTHORIZATION.match(text, at)
        if match and (match["scheme"] or looks_random(match["value"])):
            yield match.start("value"), match.end("value"), "authorization"
    for at in _positions(folded, b"bearer "):
        match = _BEARER.match(text, at)
        if match and looks_random(match["value"]):
            yield match.start("value"), match.end("value"), "authorization"


def _names(folded: bytes) -> Iterator[tuple[int, int]]:
    """Where a word that can name a credential stands."""
    for scan in _SCANS:
        for hit in scan.finditer(folded):
            yield hit.span()
    for word in _WORDS:
        for at in _positions(folded, word):
            yield at, at + len(word)


def _positions(folded: bytes, word: bytes) -> Iterator[int]:
    """Where the word stands; several times as fast as a pattern without a single first letter."""
    at = folded.find(word)
    while at >= 0:
        yield at
        at = folded.find(word, at + 1)


def kind_of_name(name: str) -> str | None:
    """The kind of credential a field's name promises (``db_password`` → ``password``), or None."""
    words = [part.lower() for part in _PARTS.findall(name)]
    joined = "".join(words)
    if joined in {"authorization", "proxyauthorization", "bearer", "cookie", "setcookie", "auth"}:
        return "authorization" if "cookie" not in joined else "cookie"
    for ending, kind in _NAMED:
        if joined.endswith(ending) and not (kind == "token" and _is_cursor(words)):
            return kind
    return None


_NAMED = (
    *((name, "password") for name in ("password", "passwd", "passphrase", "passwords", "pwd")),
    *((name, "api-key") for name in ("apikey", "apikeys", "subscriptionkey", "licensekey")),
    *((name, "private-key") for name in ("privatekey", "sshkey", "signingkey", "encryptionkey")),
    *((name, "access-key") for name in ("accesskey", "accountkey", "masterkey", "sharedkey")),
    *((name, "secret") for name in ("secret", "secrets", "secretkey", "clientsecret")),
    *((name, "token") for name in ("token", "jwt", "sessionkey", "authkey")),
    *((name, "credential") for name in ("credential", "credentials", "connectionstring")),
)
_CURSORS_TEXT = """
    next page previous prev continuation continue cursor sync resume eos bos pad unk mask sep
    cls stop special max min per cancel cancellation first last start end
"""
_CURSORS = frozenset(_CURSORS_TEXT.split())
_PLACES = frozenset(
    {"next", "page", "previous", "prev", "continuation", "cursor", "sync", "resume"}
)
"""In text, where `START_TOKEN` may as well start a machine."""


def _is_cursor(words: list[str]) -> bool:
    """``nextPageToken``, ``eos_token``: a token that opens nothing."""
    return len(words) > 1 and any(word in _CURSORS for word in words[:-1])


def _value_after(text: str, folded: bytes, start: int, end: int) -> Found | None:
    word = folded[start:end].decode("ascii")
    if word == "key" and not _OWNED_KEY.search(folded, max(0, start - 14), end):
        return None
    if word == "token" and _opens_nothing(text, folded, start, end):
        return None
    rest = _REST_OF_NAME.match(text, end)
    if rest is None or _names_another_thing(rest["suffix"]):
        return None
    if not rest["sign"].strip() and not _is_option(text, start):
        return None
    value = _QUOTED.match(text, rest.end())
    if value is not None:
        if not _is_secret_literal(value["value"], word):
            return None
    else:
        value = _BARE.match(text, rest.end())
        if value is None or not _is_bare_secret(text, value, word, rest["sign"]):
            return None
    kind = kind_of_name(text[max(0, start - 12) : end].split()[-1]) or "secret"
    return value.start("value"), value.end("value"), kind


def _opens_nothing(text: str, folded: bytes, start: int, end: int) -> bool:
    """Whether a token is a place in a list, or the public one of an assembly."""
    name = _NAME_BEFORE.search(text, max(0, start - _LONGEST_NAME), end)
    return folded.endswith(b"publickey", 0, start) or (
        name is not None and not _PLACES.isdisjoint(map(str.lower, _PARTS.findall(name[0])))
    )


def _is_option(text: str, at: int) -> bool:
    """Whether the name at ``at`` is an option of a command line: ``--db-password VALUE``."""
    before = text[max(0, at - 30) : at]
    return re.search(r"(?:\A|\s)--?[a-z\-]*\Z", before) is not None


def _names_another_thing(suffix: str) -> bool:
    return any(part.lower() in _OTHER_THINGS for part in _PARTS.findall(suffix))


def _is_password(word: str) -> bool:
    return word.startswith("p")


def _is_secret_literal(value: str, word: str) -> bool:
    """Whether a quoted value is a secret and not words, a placeholder or a template."""
    if _PLACEHOLDER.search(value) or any(map(str.isspace, value)):
        return False
    digits = len(_DIGITS.findall(value))
    letters = len(_LETTERS.findall(value))
    special = len(_SPECIAL.findall(value))
    if _is_password(word):
        return len(value) >= 6 and bool(letters) and bool(digits or special)
    if len(value) < 8 or (not letters and digits < 12):
        return False
    return looks_random(value) or (not letters) or (special > 0 and digits > 0)


def _is_bare_secret(text: str, value: re.Match[str], word: str, sign: str) -> bool:
    """Whether a value without quotes is a secret: code looks much the same, so more is asked."""
    body, end = value["value"][:_JUDGED], value.end()
    if _PLACEHOLDER.search(body) or _TYPE_NAME.match(body):
        return False
    after = text[end : end + 1]
    if after in ("(", "[", "{") or (">" in sign and "=" not in sign and after != "<"):
        return False
    strong = len(body) >= 16 and looks_random(body) and _DIGITS.search(body) is not None
    if strong:
        return True
    # `password=hunter2` in a setting, a query string or a connection string, not in a call.
    ends_setting = (
        after in ("", "\n", "\r", "&", ";", "<", '"', "'")
        or (after.isspace() and (not sign.strip() or sign == "="))
        # A line that ends within a string of JSON.
        or text.startswith(("\\n", "\\r", "\\t"), end)
    )
    if not ends_setting or (_IDENTIFIER.match(body) and "pass" in body.lower()):
        return False
    if "." in body and _IDENTIFIER.match(body):
        return False
    return _is_secret_literal(body, word)
