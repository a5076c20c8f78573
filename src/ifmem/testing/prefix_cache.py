"""What a provider keeps of the prompts it has seen, and which part of the next one it reads back.

The laws that the caches of all vendors share; a vendor's own (which boundaries it writes, how far
it looks back, for how long) are arguments. Nothing here knows a wire format:

    cache = PrefixCache(clock=now, least_tokens=1_024)
    call = cache.call("model-a", blocks, writes={2: timedelta(minutes=5)})
    call.read, call.written, call.uncached          # disjoint; they sum to the prompt's tokens
    call.answer_begun()                             # only now can other calls read what it wrote

A call that ends before ``answer_begun`` leaves nothing behind.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from threading import Lock

BYTES_PER_TOKEN = 4


def quick_count(text: str | bytes) -> int:
    """Tokens of a text by its bytes, four a token and rounded up: cheap, and the same everywhere.

    A megabyte costs nothing to count, which o200k's 50 ms would hide in every timing of a fake.
    """
    size = len(text if isinstance(text, bytes) else text.encode())
    return -(-size // BYTES_PER_TOKEN)


@dataclass(frozen=True, slots=True)
class Block:
    """A part of a prompt, after which a prefix may end.

    ``data`` is what is compared: a fake puts everything into it that would break the vendor's
    match (role, kind of block, text), and nothing that would not (a breakpoint's mark).
    """

    data: bytes
    tokens: int


def cut(data: bytes, tokens: int, *, bytes_per_token: int = BYTES_PER_TOKEN) -> list[Block]:
    """A prompt cut every so many tokens, for vendors that match in fixed steps.

    The last block is what is left, and may be shorter; counted as ``quick_count`` does.
    """
    step = tokens * bytes_per_token
    parts = (data[start : start + step] for start in range(0, len(data), step))
    return [Block(part, -(-len(part) // bytes_per_token)) for part in parts]


@dataclass(slots=True)
class _Entry:
    tokens: int
    lifetime: timedelta | None
    ends: datetime | None


@dataclass(slots=True)
class CachedCall:
    """What one call reads and writes; its numbers are known before its answer begins."""

    read: int
    """Tokens read back."""
    written: Mapping[timedelta | None, int]
    """Tokens to be written, by lifetime; None: without one."""
    uncached: int
    """Tokens that are neither."""
    _write: Callable[[], None] = field(repr=False)

    @property
    def prompt(self) -> int:
        """All tokens of the prompt: the three buckets together."""
        return self.read + sum(self.written.values()) + self.uncached

    def answer_begun(self) -> None:
        """From now on others can read what this call wrote, and lifetimes run anew."""
        self._write()


class PrefixCache:
    """Prefixes by their exact bytes; safe to use from several threads.

    Args:
        clock: the moment, aware; a test moves it instead of waiting.
        least_tokens: a shorter prefix is neither written nor read.
        read_extends: a read starts the lifetime of what it read anew, else it runs on.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], datetime],
        least_tokens: int = 0,
        read_extends: bool = True,
    ) -> None:
        self._clock = clock
        self._least_tokens = least_tokens
        self._read_extends = read_extends
        self._entries: dict[tuple[str, bytes], _Entry] = {}
        self._lock = Lock()

    def call(
        self,
        scope: str,
        blocks: Sequence[Block],
        *,
        writes: Mapping[int, timedelta | None],
        reads: Sequence[int] | None = None,
        look_back: int | None = None,
        least_tokens: int | None = None,
    ) -> CachedCall:
        """What a prompt reads back and would write.

        Args:
            scope: what never shares entries: the model, and an account or salt if there is one.
            writes: index of the last block of each prefix to keep, and for how long (None: until
                ``evict``).
            reads: indexes of the last blocks from which a match is looked for; None: ``writes``,
                or every block when that is empty.
            look_back: how many boundaries are tried from each of ``reads``, itself counted;
                None: all.
            least_tokens: of this call's model, if it differs from the cache's.
        """
        least = self._least_tokens if least_tokens is None else least_tokens
        prefixes = list(_prefixes(blocks))
        starts = reads if reads is not None else (sorted(writes) or range(len(prefixes)))
        with self._lock:
            hit = self._longest(scope, prefixes, _candidates(starts, look_back), least)
        read = prefixes[hit][1] if hit is not None else 0
        kept = {
            index: lifetime
            for index, lifetime in sorted(writes.items())
            if prefixes[index][1] >= least
        }
        written: dict[timedelta | None, int] = {}
        reached = read
        for index, lifetime in kept.items():
            if prefixes[index][1] > reached:
                written[lifetime] = written.get(lifetime, 0) + prefixes[index][1] - reached
                reached = prefixes[index][1]
        total = prefixes[-1][1] if prefixes else 0
        return CachedCall(
            read, written, total - reached, lambda: self._keep(scope, prefixes, kept, hit)
        )

    def holds(self, scope: str, blocks: Sequence[Block]) -> bool:
        """These blocks, exactly, can be read now."""
        *_, (digest, _tokens) = _prefixes(blocks)
        with self._lock:
            return self._live(scope, digest) is not None

    def evict(self, scope: str | None = None) -> None:
        """Drop what is held, of one scope or of all: providers may do so before the lifetime."""
        with self._lock:
            for key in [key for key in self._entries if scope is None or key[0] == scope]:
                del self._entries[key]

    def _longest(
        self,
        scope: str,
        prefixes: Sequence[tuple[bytes, int]],
        candidates: Sequence[int],
        least: int,
    ) -> int | None:
        for index in candidates:
            digest, tokens = prefixes[index]
            if tokens >= least and self._live(scope, digest) is not None:
                return index
        return None

    def _live(self, scope: str, digest: bytes) -> _Entry | None:
        entry = self._entries.get((scope, digest))
        if entry is None or entry.ends is None or self._clock() < entry.ends:
            return entry
        del self._entries[scope, digest]
        return None

    def _extend(self, scope: str, prefixes: Sequence[tuple[bytes, int]]) -> None:
        """Every entry inside the one that was read was used by the read too; not a lapsed one."""
        for digest, _tokens in prefixes:
            entry = self._live(scope, digest)
            if entry is not None and entry.lifetime is not None:
                entry.ends = self._clock() + entry.lifetime

    def _keep(
        self,
        scope: str,
        prefixes: Sequence[tuple[bytes, int]],
        kept: Mapping[int, timedelta | None],
        hit: int | None,
    ) -> None:
        with self._lock:
            moment = self._clock()
            if hit is not None and self._read_extends:
                self._extend(scope, prefixes[: hit + 1])
            for index, lifetime in kept.items():
                if hit is not None and index <= hit:
                    continue  # it was read, not written
                digest, tokens = prefixes[index]
                ends = None if lifetime is None else moment + lifetime
                self._entries[scope, digest] = _Entry(tokens, lifetime, ends)


def _prefixes(blocks: Sequence[Block]) -> Iterator[tuple[bytes, int]]:
    """The digest and the tokens of everything up to the end of each block."""
    digest = hashlib.sha256()
    tokens = 0
    for block in blocks:
        digest.update(block.data)
        tokens += block.tokens
        yield digest.copy().digest(), tokens


def _candidates(starts: Sequence[int], look_back: int | None) -> list[int]:
    """Boundaries to try, the longest prefix first."""
    tried: set[int] = set()
    for start in starts:
        steps = start + 1 if look_back is None else min(look_back, start + 1)
        tried.update(range(start - steps + 1, start + 1))
    return sorted(tried, reverse=True)
