"""What opens nothing and only looks like a credential: it must be left as it is."""

from __future__ import annotations

import base64
import hashlib
import random
import string
import uuid
from collections.abc import Callable, Iterator, Mapping
from urllib.parse import quote

BASE62 = string.ascii_letters + string.digits
BASE64URL = BASE62 + "-_"
HEX = "0123456789abcdef"


def _words(chance: random.Random, count: int) -> list[str]:
    return chance.choices(_WORDS, k=count)


_WORDS_TEXT = (
    "archive bridge cache context coordinator counter cursor daemon document engine evidence "
    "finding garden handler index journal kernel ledger library limit message network object "
    "parser passage pattern pipeline planet prompt query reader record registry release request "
    "response river router scanner schema session shard signal socket source space station stream "
    "summary system table task teacher thread token tracker trigger vector version window worker"
)
_WORDS = _WORDS_TEXT.split()


def _hex(length: int) -> Callable[[random.Random], str]:
    return lambda chance: "".join(chance.choices(HEX, k=length))


def _text(alphabet: str, least: int, most: int) -> Callable[[random.Random], str]:
    return lambda chance: "".join(chance.choices(alphabet, k=chance.randint(least, most)))


def _framed(
    frame: str, *makers: Callable[[random.Random], object]
) -> Callable[[random.Random], str]:
    return lambda chance: frame.format(*(make(chance) for make in makers))


def _uuid(chance: random.Random) -> str:
    return str(uuid.UUID(int=chance.getrandbits(128), version=4))


def _snake(chance: random.Random) -> str:
    return "_".join(_words(chance, chance.randint(2, 6)))


def _kebab(chance: random.Random) -> str:
    return "-".join(_words(chance, chance.randint(2, 6)))


def _camel(chance: random.Random) -> str:
    return "".join(word.title() for word in _words(chance, chance.randint(2, 6)))


def _dotted(chance: random.Random) -> str:
    return ".".join(_words(chance, 3))


def _sentence(chance: random.Random) -> str:
    return " ".join(_words(chance, chance.randint(4, 12)))


def _image(chance: random.Random) -> str:
    data = base64.b64encode(chance.randbytes(chance.randint(60, 300))).decode()
    return f"data:image/png;base64,{data}"


def _digest64(chance: random.Random) -> str:
    return base64.b64encode(hashlib.sha256(chance.randbytes(8)).digest()).decode()


def _stamp(chance: random.Random) -> str:
    return f"2026-{chance.randint(1, 12):02}-11T07:{chance.randint(10, 59)}:03Z"


def _version(chance: random.Random) -> str:
    return ".".join(str(chance.randint(0, 40)) for _ in range(3))


def _count(chance: random.Random) -> str:
    return str(chance.randint(1, 10**9))


def _public_key(chance: random.Random) -> str:
    data = base64.b64encode(chance.randbytes(60)).decode()
    kind = "PUBLIC" + " KEY"
    return f"-----BEGIN {kind}-----\n{data}\n-----END {kind}-----"


def _ssh_key(chance: random.Random) -> str:
    return "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI" + base64.b64encode(chance.randbytes(32)).decode()


def _aws_like(chance: random.Random) -> str:
    return "AK" + "IA" + "".join(word.upper() for word in _words(chance, 1))[:7] + " AK" + "IA"


def _unicode_url(chance: random.Random) -> str:
    return "https://example.test/search?q=" + quote(" ".join(_words(chance, 4)))


LOOK_ALIKES: Mapping[str, Callable[[random.Random], str]] = {
    "the secret ingredient is love": lambda _: "the secret ingredient is love",
    "prose": _sentence,
    "prose about secrets": _framed("the secret of the {} is its {}", _snake, _kebab),
    "prose about tokens": _framed("a token of the {}: it counts {} tokens", _kebab, _count),
    "prose about passwords": _framed("the password: ask the {} of the {}", _kebab, _snake),
    "prose about keys": _framed("the API key is described in the {} at {}", _snake, _unicode_url),
    "bearer": _framed("the bearer of this {} may enter", _kebab),
    "uuid": _framed("id: {}", _uuid),
    "uuid in json": _framed('{{"session_id": "{}", "parent": "{}"}}', _uuid, _uuid),
    "uuid in a path": _framed("/v1/sessions/{}/items", _uuid),
    "git hash": _framed("commit {}", _hex(40)),
    "short hash": _framed("fixed in {} and {}", _hex(7), _hex(12)),
    "git range": _framed("index {}..{} 100644", _hex(10), _hex(10)),
    "sha-256": _framed("sha256:{}", _hex(64)),
    "sha-256 in json": _framed('{{"content_sha256": "{}"}}', _hex(64)),
    "sha-512": _hex(128),
    "md5 line": _framed("{}  {}.tar.gz", _hex(32), _kebab),
    "lock file": _framed('"integrity": "sha512-{}"', _digest64),
    "requirements": _framed("{}=={} --hash=sha256:{}", _kebab, _version, _hex(64)),
    "image": _framed('<img src="{}">', _image),
    "digest in base64": _framed("digest={}", _digest64),
    "etag": _framed('ETag: "{}"', _hex(32)),
    "trace": _framed("traceparent: 00-{}-{}-01", _hex(32), _hex(16)),
    "public key": _public_key,
    "public key of ssh": _ssh_key,
    "snake": _snake,
    "kebab": _kebab,
    "camel": _camel,
    "kebab after sk": _framed("sk-{}", _kebab),
    "kebab after task": _framed("task-{}", _uuid),
    "snake after gh": _framed("ghost_{}", _snake),
    "words with dots": _framed("{}.{}", _dotted, _snake),
    "module path": _framed("from {} import {}", _dotted, _snake),
    "AKIA-like": _aws_like,
    "like a token of three parts": _framed("eye{}.{}.{}", _camel, _snake, _camel),
    "css": _framed(".{} {{ color: #{}; }}", _kebab, _hex(6)),
    "version": _framed("{} {}", _kebab, _version),
    "stamp": _framed("at={} took={}ms", _stamp, _count),
    "address": _framed("0x{} in {}", _hex(16), _camel),
    "mac": _framed("{}:{}:{}", _hex(2), _hex(2), _hex(2)),
    "arn": _framed("arn:aws:iam::123456789012:role/{}", _kebab),
    "image name": _framed("registry.example.test/{}@sha256:{}", _kebab, _hex(64)),
    "url": _unicode_url,
    "url with a fragment": _framed("https://example.test/{}#{}", _kebab, _kebab),
    "url with a user": _framed("ssh://git@example.test:2222/{}.git", _kebab),
    "call": _framed("token = {}({})", _snake, _snake),
    "annotation": _framed("def {}(token: str, api_key: str | None = None) -> {}:", _snake, _camel),
    "environment": _framed('api_key = os.environ["{}"]', lambda c: _snake(c).upper()),
    "reference": _framed("password: ${{{{ secrets.{} }}}}", lambda c: _snake(c).upper()),
    "template": _framed("Authorization: Bearer ${{{}}}", _snake),
    "placeholder": _framed("API_KEY=<your-{}-key>", _kebab),
    "attribute": _framed("secret = config.{}", _snake),
    "count of tokens": _framed("max_tokens={} token_count: {}", _count, _count),
    "cursor": _framed('{{"tokens": {}, "token_limit": {}}}', _count, _count),
    "keyword": _framed("primary_key={}, sort_key: {}", _snake, _snake),
    "assembly": _framed('publicKeyToken="{}"', _hex(16)),
    "minified": _framed("!function(e,t){{var n=e.{},r=t[{}]}}(this,{{}})", _camel, _count),
    "number": _framed("{}", _text(string.digits, 12, 30)),
    "base32": _framed("onion {}", _text(string.ascii_lowercase + "234567", 16, 56)),
    "sequence": _framed(">{}\n{}", _snake, _text("ACGT", 30, 80)),
    "protein": _framed(">{}\n{}", _snake, _text("ACDEFGHIKLMNPQRSTVWY", 40, 90)),
    "identifier": _framed("arXiv:{} doi:10.1000/{}", _version, _kebab),
    "page token": _framed('{{"nextPageToken": "{}", "items": []}}', _text(BASE64URL, 24, 60)),
    "page token in a url": _framed("/v1/{}?page_token={}", _kebab, _text(BASE64URL, 24, 40)),
    "key of a cache": _framed('cache_key = "{}"', _hex(64)),
    "key of a request": _framed('"idempotency_key": "{}"', _uuid),
    "key of a row": _framed("foreign_key: {}, sort key: {}", _uuid, _snake),
    "public key in a setting": _framed('public_key = "{}"', _digest64),
    "key of a keyboard": _framed('<a accesskey="{}" href="#{}">', _hex(1), _kebab),
    "id of a key": _framed('api_key_id = "key-{}"', _count),
    "name of a secret": _framed("secretName: {}-tls-{}", _kebab, _count),
    "reference to a secret": _framed("secretKeyRef:\n  name: {}\n  key: password", _kebab),
    "variable": _framed("password = var.{}, token = data.{}.value", _snake, _snake),
    "same name": _framed("connect({}, token=token, api_key=api_key, password=pw2)", _snake),
    "call of a library": _framed("{} = secrets.token_urlsafe({})", _snake, _count),
    "hash of a password": _framed("hashlib.sha256(password.encode()).digest()[:{}]", _count),
    "column": _framed("password VARCHAR(255) NOT NULL, token CHAR({}),", _count),
    "schema": _framed("password: {{type: string, minLength: {}}}", _count),
    "form": _framed('<input type="password" name="password{}" class="{}">', _hex(1), _kebab),
    "message": _framed('"passwordHint": "At least {} digits and a {}"', _hex(1), _kebab),
    "option with a file": _framed("--password-file /etc/{}/{}.txt", _snake, _hex(8)),
    "type": _framed("password: Optional[{}] = None, secret: bytes32 = {}", _camel, _camel),
    "cookie": _framed("Cookie: theme={}; lang=en; seen={}", _kebab, _count),
    "cookie banner": _framed("cookie: {} session={}", _kebab, _hex(4)),
    "login": _framed("every machine with a login page has a password: {} or {}", _kebab, _snake),
    "region": _framed("s3://{}-{}-us-east-1/{}", _kebab, _hex(32), _snake),
    "file of a build": _framed("pattern.{}.js, {}.{}.css", _hex(64), _kebab, _hex(20)),
    "design": _framed("/items?design={}&assign={}", _text(BASE62, 24, 40), _kebab),
    "signature of a function": _framed("sig={}({}), x", _snake, _snake),
    "publishable": _framed("pk_{}_{}", _kebab, _hex(6)),
    "kisses": _framed("xoxo-{}", _kebab),
    "variable of npm": _framed("npm_config_{}={}", _snake, _version),
    "fold of a style": _framed(".sk-{} .sk-{}-{} {{}}", _kebab, _kebab, _hex(1)),
    "message id": _framed("Message-ID: <{}.{}@mail.example.test>", _count, _hex(24)),
    "range of bytes": _framed("Range: bytes={}-{}", _count, _count),
    "coordinates": _framed("{},{}:{}", _version, _version, _count),
    "constant": _framed("#define {} 0x{}u", lambda c: _snake(c).upper(), _hex(8)),
}


def look_alikes(seed: int, each: int) -> Iterator[tuple[str, str]]:
    """So many of each kind, each by its kind."""
    chance = random.Random(seed)
    for kind, make in LOOK_ALIKES.items():
        for _ in range(each):
            yield kind, make(chance)
