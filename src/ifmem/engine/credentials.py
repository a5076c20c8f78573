"""The shapes of credentials that can be told by their own letters, and a fast way to find them.

A text without credentials must cost next to nothing, so every family of shapes is found by one
scan for a literal character (``_``, ``-``, ``.``, ``A`` …), which the regex engine does with
``memchr``; the letters before and after are looked at only where that scan stops. Every pattern
has a bounded or possessive repeat after a fixed beginning, so no input makes it backtrack.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

Found = tuple[int, int, str]
"""Start, end and kind of one credential."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A credential that begins with letters its issuer chose."""

    kind: str
    prefix: str
    """Ends with the character its family is found by."""
    rest: str
    """A pattern for what follows the prefix."""
    plain_words: bool = True
    """False where words with hyphens would fit: then digits or mixed case are needed as well."""


_ALNUM = "[A-Za-z0-9]"
_WORD = r"[A-Za-z0-9_\-]"

_UNDERSCORE = (
    *(Shape("github-token", f"gh{letter}_", _ALNUM + "{20,}+") for letter in "pousr"),
    Shape("github-token", "github_pat_", "[A-Za-z0-9_]{20,}+"),
    Shape("stripe-key", "sk_live_", _ALNUM + "{16,}+"),
    Shape("stripe-key", "rk_live_", _ALNUM + "{16,}+"),
    Shape("stripe-key", "sk_test_", _ALNUM + "{16,}+"),
    Shape("stripe-key", "rk_test_", _ALNUM + "{16,}+"),
    Shape("stripe-webhook-secret", "whsec_", _ALNUM + "{24,}+"),
    Shape("huggingface-token", "hf_", _ALNUM + "{30,}+"),
    Shape("npm-token", "npm_", _ALNUM + "{30,}+"),
    Shape("digitalocean-token", "dop_v1_", "[a-f0-9]{40,}+"),
    Shape("digitalocean-token", "doo_v1_", "[a-f0-9]{40,}+"),
    Shape("digitalocean-token", "dor_v1_", "[a-f0-9]{40,}+"),
    Shape("shopify-token", "shpat_", "[a-fA-F0-9]{32,}+"),
    Shape("shopify-token", "shpca_", "[a-fA-F0-9]{32,}+"),
    Shape("shopify-token", "shppa_", "[a-fA-F0-9]{32,}+"),
    Shape("shopify-token", "shpss_", "[a-fA-F0-9]{32,}+"),
    Shape("linear-key", "lin_api_", _ALNUM + "{32,}+"),
    Shape("notion-token", "ntn_", _ALNUM + "{40,}+"),
    Shape("grafana-token", "glsa_", "[A-Za-z0-9_]{32,}+"),
    Shape("grafana-token", "glc_", "[A-Za-z0-9+/=]{32,}+"),
    Shape("groq-key", "gsk_", _ALNUM + "{40,}+"),
    Shape("replicate-token", "r8_", _ALNUM + "{36,}+"),
    Shape("planetscale-token", "pscale_tkn_", r"[A-Za-z0-9_.\-]{32,}+"),
    Shape("supabase-token", "sbp_", "[a-f0-9]{40,}+"),
    Shape("rubygems-key", "rubygems_", "[a-f0-9]{40,}+"),
    Shape("sentry-token", "sntryu_", "[a-f0-9]{40,}+"),
    Shape("sentry-token", "sntrys_", r"[A-Za-z0-9_=+/\-]{40,}+"),
    Shape("docker-token", "dckr_pat_", _WORD + "{20,}+"),
    Shape("figma-token", "figd_", _WORD + "{30,}+", plain_words=False),
    Shape("netlify-token", "nfp_", _ALNUM + "{36,}+"),
    Shape("fly-token", "fm2_", r"[A-Za-z0-9_+/=,\-]{40,}+", plain_words=False),
    Shape("one-password-token", "ops_", "eyJ" + _WORD + "{50,}+"),
    Shape("ifmem-token", "ifm_", _WORD + "{43,}+"),
)

_HYPHEN = (
    Shape("anthropic-key", "sk-ant-", _WORD + "{16,}+", plain_words=False),
    Shape("openai-key", "sk-proj-", _WORD + "{16,}+", plain_words=False),
    Shape("openai-key", "sk-svcacct-", _WORD + "{16,}+", plain_words=False),
    Shape("openai-key", "sk-admin-", _WORD + "{16,}+", plain_words=False),
    Shape("openrouter-key", "sk-or-v1-", _WORD + "{16,}+", plain_words=False),
    Shape("openai-key", "sk-", "(?!ant-|or-v1-)" + _WORD + "{20,}+", plain_words=False),
    *(
        Shape("gitlab-token", f"{name}-", _WORD + "{20,}+", plain_words=False)
        for name in ("glpat", "gldt", "glrt", "glcbt", "glptt", "glagent", "glsoat", "gloas")
    ),
    *(Shape("slack-token", f"xox{letter}-", _WORD + "{10,}+") for letter in "abceprs"),
    # Kisses in prose, too.
    Shape("slack-token", "xoxo-", _WORD + "{10,}+", plain_words=False),
    Shape("slack-token", "xapp-", _WORD + "{16,}+", plain_words=False),
    Shape("pypi-token", "pypi-", _WORD + "{32,}+", plain_words=False),
    Shape("google-oauth-secret", "GOCSPX-", _WORD + "{20,}+"),
    Shape("postman-key", "PMAK-", "[a-f0-9]{24}-[a-f0-9]{34}"),
    Shape("perplexity-key", "pplx-", _ALNUM + "{32,}+"),
    Shape("xai-key", "xai-", _ALNUM + "{40,}+"),
    Shape("pulumi-token", "pul-", "[a-f0-9]{40,}+"),
    Shape("newrelic-key", "NRAK-", "[A-Z0-9]{24,}+"),
    Shape("mailgun-key", "key-", "[a-f0-9]{32}"),
    Shape("square-token", "sq0atp-", _WORD + "{20,}+"),
    Shape("square-token", "sq0csp-", _WORD + "{40,}+"),
    *(
        Shape("tailscale-key", f"tskey-{use}-", _WORD + "{16,}+", plain_words=False)
        for use in ("auth", "api", "client", "scim", "webhook")
    ),
    Shape("heroku-key", "HRKU-", _WORD + "{30,}+", plain_words=False),
    Shape("age-secret-key", "AGE-SECRET-KEY-", "[A-Z0-9]{50,}+"),
)

_DOT = (
    Shape("sendgrid-key", "SG.", _WORD + r"{16,}+\." + _WORD + "{16,}+"),
    Shape("google-oauth-token", "ya29.", _WORD + "{20,}+"),
    Shape("vault-token", "hvs.", _WORD + "{24,}+"),
    Shape("vault-token", "hvb.", _WORD + "{24,}+"),
    Shape("doppler-token", "dp.pt.", _ALNUM + "{40,}+"),
    *(
        Shape("dynatrace-token", f"dt0{use}.", r"[A-Z0-9]{24}\.[A-Z0-9]{32,}+")
        for use in ("c01", "s01", "s02", "s16")
    ),
)


_LONGEST_PREFIX = max(len(shape.prefix) for shape in (*_UNDERSCORE, *_HYPHEN, *_DOT))


class _Family:
    """Shapes whose prefix ends with the same character, found in one scan for it."""

    __slots__ = ("_begins", "_rests", "_scan")

    def __init__(self, shapes: tuple[Shape, ...], follows: str) -> None:
        longest_first = sorted(shapes, key=lambda shape: -len(shape.prefix))
        prefixes = "|".join(re.escape(shape.prefix) for shape in longest_first)
        mark = re.escape(shapes[0].prefix[-1])
        befores = "".join(sorted({shape.prefix[-2] for shape in shapes}))
        self._scan = re.compile(f"{mark}(?<=[{befores}]{mark})(?:{follows})".encode())
        self._begins = re.compile(rf"(?<![A-Za-z0-9])(?:{prefixes})\Z")
        self._rests = {shape.prefix: (shape, re.compile(shape.rest)) for shape in shapes}

    def find(self, text: str, raw: bytes) -> Iterator[Found]:
        for hit in self._scan.finditer(raw):
            after = hit.end()
            begin = self._begins.search(text, max(0, after - _LONGEST_PREFIX), after)
            if begin is None:
                continue
            shape, rest = self._rests[begin[0]]
            match = rest.match(text, after)
            if match and (shape.plain_words or looks_random(match[0])):
                yield begin.start(), match.end(), shape.kind


_FAMILIES = (
    _Family(
        _UNDERSCORE,
        r"(?=[A-Za-z0-9]{12})|(?<=_pat_)|(?:(?<=ifm_)|(?<=figd_)|(?<=fm2_)|(?<=ops_))(?=[A-Za-z0-9_+/=\-]{30})",
    ),
    _Family(_HYPHEN, r"(?=[A-Za-z0-9_][A-Za-z0-9_\-]{9})"),
    _Family(_DOT, r"(?=[A-Za-z0-9_\-]{16})"),
)


@dataclass(frozen=True, slots=True)
class _Rule:
    """A pattern for one kind, tried a little before a place that a scan found."""

    kind: str
    pattern: re.Pattern[str]
    """Its group ``secret`` is what is masked; without one, all of the match."""
    back: int = 0


@dataclass(frozen=True, slots=True)
class _Scan:
    """One look through the text, and the rules to try wherever it stops."""

    needed: bytes
    """Cheaper to look for than the scan: a text without it is not scanned; empty: always scan."""
    scan: re.Pattern[bytes]
    rules: tuple[_Rule, ...]


def _rule(kind: str, pattern: str, *, back: int = 0) -> _Rule:
    return _Rule(kind, re.compile(pattern), back)


_SCANS = (
    _Scan(
        b"",
        re.compile(
            rb"A(?=[KS]IA[A-Z0-9]{12}|Iza[A-Za-z0-9_\-]{25}|T(?:ATT3[A-Za-z0-9]|BB)[A-Za-z0-9_\-]{28})"
        ),
        (
            _rule("aws-access-key", r"(?<![A-Za-z0-9])A[KS]IA[A-Z0-9]{12,}+"),
            _rule("google-key", rf"(?<![A-Za-z0-9])AIza{_WORD}{{25,}}+"),
            _rule("atlassian-token", rf"(?<![A-Za-z0-9])ATATT3{_WORD}{{29,}}+=?"),
            _rule("bitbucket-password", r"(?<![A-Za-z0-9])ATBB[A-Za-z0-9]{28,}+"),
        ),
    ),
    _Scan(
        b"",
        re.compile(rb"J(?<=eyJ)(?=[A-Za-z0-9_\-]{6})"),
        (
            _rule(
                "jwt",
                rf"(?<![A-Za-z0-9])eyJ{_WORD}{{6,}}+\.{_WORD}{{6,}}+\.{_WORD}{{6,}}+",
                back=2,
            ),
        ),
    ),
    _Scan(
        b"",
        re.compile(rb"K(?<=SK)(?=[0-9a-f]{32})"),
        (_rule("twilio-key", r"(?<![A-Za-z0-9])SK[0-9a-f]{32,}+", back=1),),
    ),
    _Scan(
        b"dapi",
        re.compile(rb"dapi(?=[0-9a-f]{32})"),
        (_rule("databricks-token", r"(?<![A-Za-z0-9])dapi[0-9a-f]{32,}+"),),
    ),
    _Scan(
        b"",
        re.compile(rb":(?=AA[A-Za-z0-9_\-]{28}|//[^\s/\"'<>]{1,600}@)"),
        (
            _rule(
                "telegram-token",
                rf"(?<![0-9A-Za-z])[0-9]{{6,12}}:AA{_WORD}{{28,}}+",
                back=12,
            ),
            # The user may already be a mask; the last `@` before the path ends the password.
            _rule(
                "url-password",
                r"://(?:\[masked:[a-z0-9-]+\]|[^\s/:@\[\]\"'<>]){0,200}+:"
                r"(?!\$|\{|<|%[({s])(?P<secret>[^\s/\"'<>]{1,400})@",
            ),
        ),
    ),
    _Scan(
        b"",
        re.compile(rb"\.(?=[A-Za-z0-9_\-]{6}\.[A-Za-z0-9_\-]{27})"),
        (
            _rule(
                "discord-token",
                rf"(?<![A-Za-z0-9])[MNO]{_WORD}{{22,27}}\.{_WORD}{{6}}\.{_WORD}{{27,}}+",
                back=28,
            ),
        ),
    ),
    _Scan(
        b"pat",
        re.compile(rb"\.(?=[0-9a-f]{64})"),
        (
            _rule(
                "airtable-token",
                r"(?<![A-Za-z0-9])pat[A-Za-z0-9]{14}\.[0-9a-f]{64}",
                back=17,
            ),
        ),
    ),
    _Scan(
        b"-us",
        re.compile(rb"-(?=us[0-9]{1,2}(?![0-9A-Za-z]))"),
        (_rule("mailchimp-key", r"(?<![A-Za-z0-9])[0-9a-f]{32}-us[0-9]{1,2}", back=32),),
    ),
    _Scan(
        b"sig=",
        re.compile(rb"sig=(?=[A-Za-z0-9%+/_\-]{20})"),
        (
            _rule(
                "url-signature",
                r"(?:[?&]|&amp;|\\u0026)sig=(?P<secret>[A-Za-z0-9%+/=_\-]{20,400}+)",
                back=6,
            ),
        ),
    ),
    _Scan(
        b"machine ",
        re.compile(rb"machine (?=[^\s]{1,200}\s{1,20}login )"),
        (
            _rule(
                "password",
                r"machine \S{1,200}\s{1,20}login \S{1,200}\s{1,20}password "
                r"(?P<secret>[^\s\\\"']{3,200}+)",
            ),
        ),
    ),
    _Scan(
        b"ookie",
        re.compile(rb"ookie(?=[\"']?\]?\s{0,2}[:=])"),
        (
            _rule(
                "cookie",
                r"ookie[\"']?\]?\s{0,2}[:=]\s{0,2}(?:\\?[\"'])?[^\n\r\"'\\]{0,400}?"
                r"(?<![A-Za-z])(?i:\w{0,16}sess\w{0,12}|[\w.]{0,16}sid|auth\w{0,12})="
                r"(?P<secret>[A-Za-z0-9%._~+/=\-]{16,400}+)",
            ),
        ),
    ),
    _Scan(
        b"hooks",
        re.compile(rb"hooks(?=/[0-9]{6}|\.slack\.com/)"),
        (
            _rule("discord-webhook", rf"hooks/[0-9]{{6,24}}/(?P<secret>{_WORD}{{20,}}+)"),
            _rule(
                "slack-webhook",
                r"hooks\.slack\.com/(?:services|workflows|triggers)/(?P<secret>[A-Za-z0-9/]{16,}+)",
            ),
        ),
    ),
)

_SEPARATOR = r"(?:\s|\\[nrt]|[\"'`+,#*>|;()])"
_PEM_BEGIN = re.compile(rb"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
_PEM_HEADERS = rf"(?:{_SEPARATOR}*+[A-Z][A-Za-z\-]{{2,20}}: [^\n\\]{{0,200}}+){{0,8}}+"
_PEM_WHOLE = re.compile(
    rf"{_PEM_HEADERS}(?:{_SEPARATOR}|[A-Za-z0-9/=])*+-----END [A-Z0-9 ]{{0,40}}KEY(?: BLOCK)?-----"
)
# A key that was cut off has no end: take the lines that can be nothing but base64.
_PEM_CUT = re.compile(rf"{_PEM_HEADERS}(?:{_SEPARATOR}*+[A-Za-z0-9+/=]{{16,}}+)++")


def find_credentials(text: str, raw: bytes) -> Iterator[Found]:
    """Every credential told by its own shape, in no order and perhaps overlapping.

    Args:
        text: the text to search.
        raw: the same text in one byte per character, so that positions agree.
    """
    for family in _FAMILIES:
        yield from family.find(text, raw)
    for scan in _SCANS:
        if scan.needed in raw:
            for hit in scan.scan.finditer(raw):
                yield from _apply(scan.rules, text, hit.start())
    if b"PRIVATE KEY" in raw:
        yield from _find_private_keys(text, raw)


def _apply(rules: tuple[_Rule, ...], text: str, at: int) -> Iterator[Found]:
    for rule in rules:
        group = "secret" if "secret" in rule.pattern.groupindex else 0
        for start in range(max(0, at - rule.back), at + 1):
            match = rule.pattern.match(text, start)
            if match is not None:
                yield match.start(group), match.end(group), rule.kind
                break


def _find_private_keys(text: str, raw: bytes) -> Iterator[Found]:
    for begin in _PEM_BEGIN.finditer(raw):
        body = _PEM_WHOLE.match(text, begin.end()) or _PEM_CUT.match(text, begin.end())
        if body is not None:
            yield begin.start(), body.end(), "private-key"


_DIGIT = re.compile(r"\d")
_TURN = re.compile(r"[a-z](?=[A-Z0-9])|[A-Z](?=[a-z0-9])|[0-9](?=[A-Za-z])")
_JUDGED = 100


def looks_random(value: str) -> bool:
    """Whether letters and digits alternate as in a key drawn by chance, not as in words.

    The first hundred characters decide, so a long line costs no more than a long key.
    """
    head = value[:_JUDGED]
    turns = len(_TURN.findall(head))
    if _DIGIT.search(head) is None:
        return len(head) >= 20 and turns >= 0.35 * len(head)
    return turns >= 0.15 * len(head)
