"""``if://`` URIs: ``if://TYPE/ID[/VERSION][#FRAGMENT]``, read liberally and written strictly.

Read are upper-case schemes and types, further types, ids that contain ``/`` or spaces, slashes at
the end. Written is one form: a known type, and the id as one segment, percent-encoded. What cannot
be read, or has a type that may not be written, stays the text that it is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote, unquote

from ifmem.errors import Invalid

TYPES = frozenset(
    (
        *("agent", "citation", "claim", "code", "conversation", "decision", "doc"),
        *("improvement", "test-run", "topic", "vault"),
    )
)
"""What may be written."""

_SCHEME = "if://"
_LONGEST = 16_384
_LONGEST_ID, _LONGEST_FRAGMENT, _LONGEST_VERSION = 1_024, 256, 64
"""In characters; percent-encoded, all three together are not longer than what is read."""
_TYPE = re.compile(r"[a-z][a-z0-9-]{0,40}")
_VERSION = re.compile(r"latest|v?[0-9]+([.-][0-9]+)*([-+.][0-9A-Za-z]+)*|[0-9a-f]{7,40}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_BROKEN = re.compile(r"%(?![0-9A-Fa-f]{2})")
_LINES = re.compile(r"(?:lines?[=:-])?L?(\d{1,9})(?:-L?(\d{1,9}))?")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_ID_SAFE, _FRAGMENT_SAFE = "~:@,+=", "~:@,+=/"
_AS_PATH = frozenset(("doc", "code"))
_AS_FINDING = frozenset(("claim", "finding"))


@dataclass(frozen=True, slots=True)
class IfUri:
    """One URI, its parts decoded.

    Raises:
        Invalid: an empty or overlong part, a control character, an odd type or version.
    """

    type: str
    id: str
    version: str | None = None
    fragment: str | None = None

    def __post_init__(self) -> None:
        fits = (
            _TYPE.fullmatch(self.type) is not None
            and _is_plain(self.id, _LONGEST_ID)
            and (self.fragment is None or _is_plain(self.fragment, _LONGEST_FRAGMENT))
            and (self.version is None or _is_version(self.version))
        )
        if not fits:
            raise Invalid(
                "this is no if:// URI: write if://TYPE/ID[/VERSION][#FRAGMENT]", type=self.type
            )

    def written(self) -> str:
        """The one strict form.

        Raises:
            Invalid: the type may not be written.
        """
        if self.type not in TYPES:
            raise Invalid(
                f"if://{self.type} is no known type: write one of {', '.join(sorted(TYPES))}",
                type=self.type,
            )
        version = "" if self.version is None else "/" + quote(self.version, safe="+")
        fragment = "" if self.fragment is None else "#" + quote(self.fragment, safe=_FRAGMENT_SAFE)
        return f"{_SCHEME}{self.type}/{quote(self.id, safe=_ID_SAFE)}{version}{fragment}"

    @property
    def lines(self) -> tuple[int, int] | None:
        """The lines that the fragment names, as in ``#L10-20``."""
        match = _LINES.fullmatch(self.fragment or "")
        if match is None:
            return None
        first, last = int(match[1]), int(match[2] or match[1])
        return (first, last) if 1 <= first <= last else None

    @property
    def source(self) -> str | None:
        """What it stands for here: ``chat:<id>``, ``finding:<uuid>`` or a path; None for others.

        A path that is not absolute is one below a directory that was loaded.
        """
        if self.type == "conversation":
            return f"chat:{self.id}"
        if self.type in _AS_PATH and self.version is None:
            return self.id
        if self.type in _AS_FINDING and _UUID.fullmatch(self.id.lower()):
            return f"finding:{self.id.lower()}"
        return None


def parse(text: str) -> IfUri | None:
    """The URI that a text is; None when it cannot be read as one."""
    stripped = text.strip()
    if stripped[: len(_SCHEME)].lower() != _SCHEME or len(stripped) > _LONGEST:
        return None
    place, _, fragment = stripped[len(_SCHEME) :].partition("#")
    type, _, rest = place.partition("/")
    segments = rest.rstrip("/").split("/")
    version = None
    if len(segments) > 1 and any(segments[:-1]) and _is_version(segments[-1]):
        version = segments.pop()
    try:
        return IfUri(
            type.strip().lower(),
            _decoded("/".join(segments).rstrip("/")),
            version,
            _decoded(fragment) or None,
        )
    except Invalid:
        return None


def is_if_uri(text: str) -> bool:
    """Whether a text means to be an ``if://`` URI."""
    return text.lstrip()[: len(_SCHEME)].lower() == _SCHEME


def normalised(text: str) -> str:
    """A text in its strict form; as it is when it has none."""
    uri = parse(text)
    return text if uri is None or uri.type not in TYPES else uri.written()


def uri_of(source: str) -> IfUri | None:
    """The URI that stands for ``chat:<id>``, ``finding:<uuid>`` or an absolute path elsewhere."""
    for prefix, type in (("chat:", "conversation"), ("finding:", "claim"), ("/", "doc")):
        if source.startswith(prefix):
            try:
                return IfUri(type, source if prefix == "/" else source.removeprefix(prefix))
            except Invalid:
                return None
    return None


def _is_plain(part: str, longest: int) -> bool:
    return 0 < len(part) <= longest and _CONTROL.search(part) is None


def _is_version(part: str) -> bool:
    return len(part) <= _LONGEST_VERSION and _VERSION.fullmatch(part) is not None


def _decoded(text: str) -> str:
    """Percent-encoding undone; what is not well encoded stays as it is."""
    try:
        return unquote(_BROKEN.sub("%25", text), errors="strict")
    except UnicodeDecodeError:
        return text
