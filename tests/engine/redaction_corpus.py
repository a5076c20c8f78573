"""Fake secrets of many shapes, and the places that they are written in.

Every value is put together when it is asked for, says ``Fake`` (``fa4e`` in hexadecimal) and opens
nothing; the same seed gives the same values.
"""

from __future__ import annotations

import base64
import json
import random
import string
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

BASE62 = string.ascii_letters + string.digits
BASE64URL = BASE62 + "-_"
UPPER = string.ascii_uppercase + string.digits
PEM = "PRIVATE" + " KEY"


@dataclass(frozen=True, slots=True)
class Secret:
    """One fake secret as it is written."""

    shape: str
    text: str
    """What a document says."""
    hidden: str
    """The part of it that nobody may read afterwards."""


def body(chance: random.Random, alphabet: str, length: int) -> str:
    """Letters that say that they are fake, and then chance."""
    mark = {"0123456789abcdef": "fa4e", UPPER: "FAKE7", string.digits: "0000"}.get(
        alphabet, "Fake7"
    )
    return mark + "".join(chance.choices(alphabet, k=length - len(mark)))


HEX = "0123456789abcdef"
# What the issuer writes before, the alphabet of the rest, and its length.
PREFIXED: Mapping[str, tuple[str, str, int]] = {
    "anthropic": ("sk" + "-ant-api03-", BASE64URL, 95),
    "openai": ("sk" + "-", BASE62, 48),
    "openai-project": ("sk" + "-proj-", BASE64URL, 120),
    "openai-service": ("sk" + "-svcacct-", BASE64URL, 60),
    "openrouter": ("sk" + "-or-v1-", HEX, 64),
    "google-api": ("AI" + "za", BASE64URL, 35),
    "google-oauth": ("ya" + "29.", BASE64URL, 80),
    "google-client": ("GOC" + "SPX-", BASE64URL, 28),
    "github-classic": ("gh" + "p_", BASE62, 36),
    "github-oauth": ("gh" + "o_", BASE62, 36),
    "github-server": ("gh" + "s_", BASE62, 36),
    "github-refresh": ("gh" + "r_", BASE62, 76),
    "github-fine": ("github" + "_pat_", BASE62, 82),
    "gitlab": ("gl" + "pat-", BASE64URL, 20),
    "gitlab-runner": ("gl" + "rt-", BASE64URL, 20),
    "aws-access": ("AK" + "IA", UPPER, 16),
    "aws-temporary": ("AS" + "IA", UPPER, 16),
    "slack-bot": ("xo" + "xb-000000000000-000000000000-", BASE62, 24),
    "slack-user": ("xo" + "xp-000000000000-", BASE62, 32),
    "slack-app": ("xa" + "pp-1-A0000000000-", BASE62, 64),
    "stripe-live": ("sk" + "_live_", BASE62, 24),
    "stripe-restricted": ("rk" + "_live_", BASE62, 24),
    "stripe-webhook": ("wh" + "sec_", BASE62, 32),
    "huggingface": ("h" + "f_", string.ascii_letters, 34),
    "npm": ("np" + "m_", BASE62, 36),
    "pypi": ("py" + "pi-AgEIcHlwaS5vcmc", BASE64URL, 120),
    "twilio": ("S" + "K", HEX, 32),
    "digitalocean": ("do" + "p_v1_", HEX, 64),
    "shopify": ("shp" + "at_", HEX, 32),
    "databricks": ("da" + "pi", HEX, 32),
    "groq": ("gs" + "k_", BASE62, 52),
    "vault": ("hv" + "s.", BASE64URL, 90),
    "docker": ("dckr" + "_pat_", BASE64URL, 27),
    "linear": ("lin" + "_api_", BASE62, 40),
    "notion": ("nt" + "n_", BASE62, 46),
    "grafana": ("gl" + "sa_", BASE62, 41),
    "replicate": ("r" + "8_", BASE62, 37),
    "perplexity": ("pp" + "lx-", BASE62, 48),
    "xai": ("x" + "ai-", BASE62, 80),
    "new-relic": ("NR" + "AK-", UPPER, 27),
    "atlassian": ("AT" + "ATT3xFfGF0", BASE64URL, 170),
    "bitbucket": ("AT" + "BB", BASE62, 32),
    "figma": ("fi" + "gd_", BASE64URL, 40),
    "tailscale": ("ts" + "key-auth-", BASE62, 32),
    "airtable": ("pa" + "tFake7aB3dE5gH7.", HEX, 64),
    "dynatrace": ("dt0" + "c01.", UPPER, 24),
    "netlify": ("nf" + "p_", BASE62, 36),
    "heroku": ("HR" + "KU-", BASE64URL, 60),
    "fly": ("fm" + "2_", BASE64URL, 80),
    "one-password": ("op" + "s_ey" + "J", BASE64URL, 200),
    "age": ("AGE-" + "SECRET-KEY-1", UPPER, 58),
    "sendgrid": ("S" + "G.", BASE64URL, 22),
    "telegram": ("1234567890:" + "AA", BASE64URL, 33),
    "mailchimp": ("", HEX, 32),
    "ifmem": ("if" + "m_", BASE64URL, 43),
}
_ENDED = {"dynatrace": (".", UPPER, 64), "sendgrid": (".", BASE64URL, 43)}

# Where only the name before it tells what a value is: the frame, the alphabet, the length.
NAMED: Mapping[str, tuple[str, str, int]] = {
    "password-env": ("DATABASE_PASSWORD={}", BASE62, 14),
    "password-toml": ('password = "{}"', BASE62 + "!#%+", 16),
    "password-yaml": ("  password: {}", BASE62, 18),
    "password-option": ("mysql --user root --password {}", BASE62, 14),
    "password-url": ("postgres://shop:{}@db.example.test:5432/shop", BASE62, 20),
    "password-url-redis": ("redis://:{}@cache.example.test:6379/0", BASE62, 20),
    "password-url-mongo": ("mongodb+srv://root:{}@cluster0.example.test/?w=majority", BASE62, 20),
    "password-netrc": ("machine example.test login bob password {}", BASE62, 16),
    "password-dsn": ("Server=db;Database=shop;User Id=sa;Password={};", BASE62, 16),
    "aws-secret": ("aws_secret_access_key = {}", BASE62 + "/+", 40),
    "aws-secret-env": ("export AWS_SECRET_ACCESS_KEY={}", BASE62 + "/+", 40),
    "aws-session": ("AWS_SESSION_TOKEN={}", BASE62 + "/+", 200),
    "azure-storage": ("AccountName=shop;AccountKey={}==;EndpointSuffix=x", BASE62 + "/+", 86),
    "azure-client": ('client_secret: "{}"', BASE62 + "~_.-", 40),
    "azure-sas": ("https://a.blob.example.test/c?sv=2024-11-04&sr=b&sig={}%3D", BASE62, 43),
    "bearer": ("Authorization: Bearer {}", BASE64URL, 48),
    "bearer-curl": ("curl -H 'authorization: bearer {}' https://example.test", BASE64URL, 40),
    "basic": ("Authorization: Basic {}=", BASE62, 31),
    "x-api-key": ("x-api-key: {}", BASE62, 40),
    "api-key-json": ('"apiKey": "{}"', BASE62, 32),
    "api-key-url": ("https://example.test/v1/search?q=x&api_key={}", HEX, 32),
    "access-token-url": ("https://example.test/callback?access_token={}&state=1", BASE64URL, 64),
    "datadog": ("DD_API_KEY={}", HEX, 32),
    "cloudflare": ("CLOUDFLARE_API_TOKEN={}", BASE64URL, 40),
    "twilio-auth": ("TWILIO_AUTH_TOKEN={}", HEX, 32),
    "npmrc": ("//registry.example.test/:_authToken={}", BASE62, 40),
    "django": ("SECRET_KEY = '{}'", BASE62 + "!@#$^&*(-_=+)", 50),
    "session-cookie": ("Cookie: theme=dark; sessionid={}; lang=en", HEX, 32),
    "set-cookie": ("Set-Cookie: session_token={}; HttpOnly; Secure", BASE64URL, 64),
    "slack-webhook": ("https://hooks.slack.com/services/T0000/B0000/{}", BASE62, 24),
    "discord-webhook": ("https://discord.com/api/webhooks/000000000000/{}", BASE64URL, 68),
    "private-key-pem": (f"-----BEGIN RSA {PEM}-----\n{{}}\n-----END RSA {PEM}-----", BASE62, 64),
    "private-key-openssh": (
        f"-----BEGIN OPENSSH {PEM}-----\n{{}}\n-----END OPENSSH {PEM}-----",
        BASE62,
        70,
    ),
    "private-key-pgp": (
        f"-----BEGIN PGP {PEM} BLOCK-----\n\n{{}}\n-----END PGP {PEM} BLOCK-----",
        BASE62,
        64,
    ),
}

# Where a shape that is known by itself may stand; ``{}`` is the secret.
CONTEXTS: Mapping[str, str] = {
    "prose": "Please rotate {}, it was posted in the channel by mistake.",
    "quoted prose": "He said “{}” and left.",
    "end of a sentence": "The old one was {}.",
    "log": "2026-03-01T12:00:00Z ERROR client=7 rejected key {} after 3 tries (status=401)",
    "json": '{{"name": "worker", "value": "{}", "n": 3}}',
    "escaped json": '{{\\"value\\": \\"{}\\"}}',
    "yaml": "jobs:\n  deploy:\n    env:\n      VALUE: {}\n",
    "python": "client = Client('{}', retries=3)  # remove before merging\n",
    "shell": "$ tool login --with {} && tool push\n",
    "environment": "export VALUE={}\nexport OTHER=1\n",
    "markdown": "| name | value |\n| --- | --- |\n| prod | `{}` |\n",
    "url": "https://example.test/v1/items?value={}&page=2",
    "path": "/srv/{}/data",
    "diff": "-value = {}\n+value = read()\n",
    "html": '<input type="hidden" value="{}">',
    "unicode": "→ schlüssel：{}、またね",
    "traceback": 'ValueError: invalid value "{}" (line 7)',
}


def secrets(seed: int) -> Iterator[Secret]:
    """One of each shape, in each place where it may stand."""
    chance = random.Random(seed)
    for shape in (*PREFIXED, "jwt", "discord"):
        hidden = own_shape(shape, chance)
        for frame in CONTEXTS.values():
            yield Secret(shape, frame.format(hidden), _core(hidden))
    for shape, (frame, alphabet, length) in NAMED.items():
        hidden = body(chance, alphabet, length)
        said = frame.format(hidden)
        for text in (said, f"Note to self:\n{said}\nand so on.", f"\t{said}\n"):
            yield Secret(shape, text, hidden)
        yield Secret(shape, json.dumps({"stdout": f"{said}\nok"}), hidden)


def own_shape(shape: str, chance: random.Random) -> str:
    """A secret that is known by its own letters."""
    if shape == "jwt":
        header, claims = ({"alg": "HS256", "typ": "JWT"}, {"sub": body(chance, BASE62, 20)})
        parts = [base64.urlsafe_b64encode(json.dumps(part).encode()) for part in (header, claims)]
        said = [part.decode().rstrip("=") for part in parts]
        return ".".join([*said, body(chance, BASE64URL, 43)])
    if shape == "discord":
        pieces = (body(chance, BASE62, 6), body(chance, BASE64URL, 38))
        return ".".join(["MT" + body(chance, BASE62, 24), *pieces])
    prefix, alphabet, length = PREFIXED[shape]
    said = prefix + body(chance, alphabet, length)
    if shape == "mailchimp":
        return said + "-us" + str(chance.randint(1, 21))
    if shape in _ENDED:
        mark, alphabet, length = _ENDED[shape]
        return said + mark + body(chance, alphabet, length)
    return said


def _core(hidden: str) -> str:
    """The second half, without which the rest opens nothing."""
    return hidden[-12:]
