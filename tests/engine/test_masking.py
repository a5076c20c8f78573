"""Credentials never enter, and nothing else is taken for one."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifmem.engine.masking import Masked, holds_mask, mask, mask_values

# Every value is put together here and opens nothing.
MIX = "aB3dE5gH7jK9mN1pQ2rS4tU6vW8xY0zAbC3dEf5GhI7"
HEX = "0a1b2c3d4e5f60718293a4b5c6d7e8f9" * 2
PEM = "PRIVATE" + " KEY-----"

SHAPES = {
    "aws-access-key": "AKIA" + "ABCDEFGH23456789",
    "aws-session-key": "ASIA" + "ABCDEFGH23456789",
    "google-key": "AI" + "za" + MIX[:35],
    "google-oauth-token": "ya" + "29." + MIX,
    "google-oauth-secret": "GOC" + "SPX-" + MIX[:28],
    "github-classic": "gh" + "p_" + MIX[:36],
    "github-oauth": "gh" + "o_" + MIX[:36],
    "github-user": "gh" + "u_" + MIX[:36],
    "github-server": "gh" + "s_" + MIX[:36],
    "github-refresh": "gh" + "r_" + MIX[:36],
    "github-fine": "github" + "_pat_11ABCDE_" + MIX,
    "gitlab": "gl" + "pat-" + MIX[:20],
    "slack-bot": "xo" + "xb-123456789012-" + MIX[:24],
    "slack-app": "xa" + "pp-1-A0-" + MIX,
    "stripe-live": "sk" + "_live_" + MIX[:24],
    "stripe-restricted": "rk" + "_live_" + MIX[:24],
    "openai": "sk" + "-" + MIX,
    "openai-project": "sk" + "-proj-" + MIX,
    "anthropic": "sk" + "-ant-api03-" + MIX,
    "huggingface": "hf" + "_" + MIX[:34],
    "npm": "np" + "m_" + MIX[:36],
    "pypi": "py" + "pi-AgEIcHlwaS5vcmc" + MIX,
    "sendgrid": "S" + "G." + MIX[:22] + "." + MIX,
    "twilio": "S" + "K" + HEX[:32],
    "telegram": "123456789" + ":AA" + MIX[:33],
    "discord": "MT" + MIX[:22] + "." + MIX[:6] + "." + MIX[:27],
    "digitalocean": "do" + "p_v1_" + HEX,
    "jwt": "ey" + "JhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0." + MIX,
    "shopify": "shp" + "at_" + HEX[:32],
    "databricks": "da" + "pi" + HEX[:32],
    "groq": "gs" + "k_" + MIX + MIX,
    "vault": "hv" + "s." + MIX,
    "docker": "dckr" + "_pat_" + MIX[:27],
    "ifmem": "if" + "m_" + MIX[:43],
    "ifmem-with-signs": "if" + "m_-_a-" + MIX[:39],
}

ASSIGNED = [
    ('password = "{}"', "hunter" + "2!"),
    ("DB_PASSWORD={}\n", "hunter" + "2"),
    ("password: {}", "hunter" + "2"),
    ('password: str = "{}"', "hunter" + "2x"),
    ("host=db password={} dbname=shop", "hunter" + "2"),
    ("Server=db;Password={};", "hunter" + "2"),
    ("mysql --password {}", "hunter" + "2x"),
    ("<password>{}</password>", "hunter" + "2"),
    ('{{\\"password\\": \\"{}\\"}}', "hunter" + "2"),
    ("aws_secret_access_key = {}", MIX[:20] + "/" + MIX[:19]),
    ('api_key="{}"', MIX),
    ("apiKey: '{}'", MIX),
    ('"client_secret": "{}"', MIX),
    ("https://example.test/cb?access_token={}&x=1", MIX),
    ("AccountKey={};EndpointSuffix=core", MIX + MIX + "=="),
    ("Authorization: Bearer {}", MIX),
    ("Authorization: Basic {}", "dXNlcjpw" + "YXNz"),
    ("curl -H 'Authorization: Bearer {}'", MIX),
    ("postgres://bob:{}@db.example.test/shop", "p@ss:w" + "0rd"),
    ("https://hooks.slack.com/services/{}", "T000/B000/" + MIX),
    ("https://discord.com/api/webhooks/123456789012/{}", MIX + MIX),
]

INNOCENT = [
    "the secret ingredient is love",
    "password reset flow",
    "Password: at least 12 characters",
    "The API key: see https://example.test/z1",
    '"Bearer of good news and internationalization"',
    "token = next_token()",
    "token = self._next_token_2",
    "token = tokens[0]",
    "token: str",
    "password = getpass()",
    "password = password2",
    "connect(user, password=password)",
    'api_key = os.environ["X"]',
    "secret = config.secret_value_v2",
    "password: Optional[str] = None",
    "max_tokens = 4096",
    "token_count: 12345678",
    'tokenizer = "o200k_base"',
    'password = "your-password-1"',
    "PASSWORD=${DB_PASSWORD1}",
    'f"https://{user}:{password}@{host}"',
    "git@github.com:owner/repo.git",
    "http://localhost:8080/a@b",
    "sk-learn-like-names-that-go-on-2024",
    "commit " + HEX[:40],
    f'digest: "sha256:{HEX}"',
    'primary_key = "abc123def456ghi"',
    "PWD=/home/x1",
    "ta" + "sk-" + MIX,
    "token = a1b2c3d4e5f6g7h8i9(x)",
    "socks5h://<username>:<password>@proxy-h0st",
    'publicKeyToken="1fc8b3b9a1e18e3b"',
    "-----BEGIN PUBLIC " + "KEY-----\n" + MIX + "\n-----END PUBLIC " + "KEY-----",
    f'if line.startswith("-----BEGIN {PEM}"):',
]


@pytest.mark.parametrize("secret", SHAPES.values(), ids=SHAPES.keys())
@pytest.mark.parametrize("frame", ["{}", "see ({}), please", 'x = f("{}")', "é→ {}\n{}", "a/{}?b"])
def test_a_known_shape_is_masked_wherever_it_stands(secret: str, frame: str) -> None:
    masked = mask(frame.replace("{}", secret))
    assert secret not in masked.text
    assert masked.text.replace("\n", "").startswith(frame[: frame.index("{")])
    assert masked.count == frame.count("{}")
    assert holds_mask(masked.text)


@pytest.mark.parametrize(("frame", "secret"), ASSIGNED)
def test_an_assigned_secret_is_masked_and_the_rest_stays(frame: str, secret: str) -> None:
    masked = mask(frame.format(secret))
    before, after = frame.replace("{{", "{").replace("}}", "}").split("{}")
    assert masked.count == 1
    assert masked.text.startswith(f"{before}[masked:")
    assert masked.text.endswith(f"]{after}")


@pytest.mark.parametrize("text", INNOCENT)
def test_words_and_code_are_left_alone(text: str) -> None:
    assert mask(text) == Masked(text, 0)
    assert not holds_mask(text)


@pytest.mark.parametrize(
    "body",
    [
        f"{MIX}\n{MIX}\nab==\n",
        f"Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,AB\n\n{MIX}\n{MIX}\n",
        "short\n",
        f"   {MIX}\r\n   {MIX}\r\n",
    ],
)
def test_a_private_key_goes_as_a_whole_and_leaves_its_lines(body: str) -> None:
    text = f"before\n-----BEGIN RSA {PEM}\n{body}-----END RSA {PEM}\nafter"
    masked = mask(text)
    assert masked.text.replace("\n", "") == "before[masked:private-key]after"
    assert masked.text.count("\n") == text.count("\n")


def test_a_private_key_that_was_cut_off_is_masked_up_to_the_prose() -> None:
    text = f"-----BEGIN {PEM}\n{MIX}\n{MIX}\nand then some prose"
    assert mask(text).text == "[masked:private-key]\n\n\nand then some prose"


def test_a_private_key_inside_json_is_masked_to_its_end() -> None:
    text = json.dumps({"key": f"-----BEGIN {PEM}\n{MIX}\nab==\n-----END {PEM}\n"})
    assert json.loads(mask(text).text) == {"key": "[masked:private-key]\n"}


words = st.sampled_from(
    [
        *SHAPES.values(),
        *(frame.format(secret) for frame, secret in ASSIGNED),
        *INNOCENT,
        *("[masked:", "[masked:x]", "]", '"', "'", "\\", "://", "@", ":", "=", " ", "\n", "\r\n"),
        *("password", "token=", "secret: ", "_key = ", "Bearer ", "Authorization: ", "AKIA", "sk-"),
        *(f"-----BEGIN {PEM}", f"-----END {PEM}", MIX, MIX[:9], "x", "7", "-", "_", ".", "é", "İ"),
    ]
)
texts = st.lists(st.one_of(words, st.text(max_size=8)), max_size=12).map("".join)


@given(texts)
def test_masking_twice_is_masking_once_and_keeps_every_line(text: str) -> None:
    once = mask(text)
    assert mask(once.text) == Masked(once.text, 0)
    assert once.text.count("\n") == text.count("\n")
    assert (once.count == 0) == (once.text == text)


def test_letters_that_grow_when_lowered_do_not_move_the_mask() -> None:
    assert mask("İİİİ password='" + "hunter" + "2'").text == "İİİİ password='[masked:password]'"


def test_structures_are_masked_as_values_and_stay_json() -> None:
    value = {
        "note": f"uses {SHAPES['anthropic']} here",
        "password": "plain words",
        "Authorization": ["Bearer", "x"],
        "x-api-key": 1234,
        "nested": [{"db_password": "swordfish", "ok": "the secret ingredient is love"}],
        "tokens": 17,
        "next_page_token": "page two",
        "pwd": "/home/somebody",
        "secret": None,
        "clientSecret": "",
    }
    masked, count = mask_values(value)
    assert json.loads(json.dumps(masked)) == {
        "note": "uses [masked:anthropic-key] here",
        "password": "[masked:password]",
        "Authorization": "[masked:authorization]",
        "x-api-key": "[masked:api-key]",
        "nested": [
            {"db_password": "[masked:password]", "ok": "the secret ingredient is love"},
        ],
        "tokens": 17,
        "next_page_token": "page two",
        "pwd": "/home/somebody",
        "secret": None,
        "clientSecret": "",
    }
    assert count == 5
    assert mask_values(masked) == (masked, 0)


def test_two_keys_that_mask_alike_both_keep_their_values() -> None:
    masked, count = mask_values({SHAPES["groq"]: 1, SHAPES["groq"] + "9": 2})
    assert masked == {"[masked:groq-key]": 1, "[masked:groq-key]~2": 2}
    assert count == 2


def _nested(inner: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    keys = st.sampled_from(["a", "password", "token", "note"])
    return st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3)


leaves: st.SearchStrategy[object] = st.none() | st.booleans() | st.integers() | texts


@given(st.recursive(leaves, _nested, max_leaves=8))
def test_masking_a_structure_twice_is_masking_it_once(value: object) -> None:
    once, _ = mask_values(value)
    assert mask_values(once) == (once, 0)
    json.dumps(once)


@pytest.mark.parametrize(
    "text",
    [
        SHAPES["aws-access-key"] + f'digest: "sha256:{HEX}"',
        SHAPES["aws-access-key"] + SHAPES["telegram"],
        SHAPES["github-classic"] + SHAPES["jwt"],
    ],
)
def test_a_mask_does_not_name_what_follows_it(text: str) -> None:
    once = mask(text).text
    assert mask(once) == Masked(once, 0)


@pytest.mark.parametrize("held", ["hunter" + "2", 7316054829, ["a", "b"], {"deep": ["er"]}, 1.5])
def test_whatever_lies_under_a_credentials_key_is_masked_whole(held: object) -> None:
    masked, count = mask_values({"x": [{"pass" + "word": held}]})
    assert (masked, count) == ({"x": [{"password": "[masked:password]"}]}, 1)


def test_credentials_are_masked_in_keys_and_however_deep_they_lie() -> None:
    deep: object = SHAPES["anthropic"]
    for _ in range(50):
        deep = {"k": [deep]}
    keyed = {SHAPES["anthropic"]: 1, SHAPES["openai"]: (None, True, SHAPES["jwt"])}
    masked, count = mask_values([deep, keyed])
    assert count == 4
    text = json.dumps(masked)
    assert not any(SHAPES[kind] in text for kind in ("anthropic", "openai", "jwt"))
    assert "[masked:anthropic-key]" in text and "null, true" in text
