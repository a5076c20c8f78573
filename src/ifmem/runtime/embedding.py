"""Embedding in the background: what is stored gets its finer vectors, the newest first.

Each batch is committed before the next begins, so a killed daemon goes on where it was. The work
waits while a space is loading; a search goes on beside it.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from ifmem.index.sentence_encoder import NAME, SentenceEncoder
from ifmem.index.space_index import SpaceIndex
from ifmem.index.units import embed
from ifmem.runtime.space import Space
from ifmem.store import contents, embeddings, findings
from ifmem.wire import finding_json

log = logging.getLogger(__name__)

BATCH = 16
"""Passages in a commit: under a second of work."""
_LOOK_SECONDS = 0.5
_REST_SECONDS = 60.0


async def embed_all(spaces: Callable[[], Iterable[Space]], encoder: SentenceEncoder) -> None:
    """Embed what the open spaces have and will have, until cancelled.

    The model is loaded once there is something to search. When it cannot be loaded, the static
    vectors rank alone, as without the extra.
    """
    loaded = False
    while True:
        # Loading takes as long as the rest of a daemon's start.
        if not loaded and any(len(one.index) + len(one.archive) for one in spaces()):
            if not await _can_load(encoder):
                return
            loaded = True
        try:
            busy = [await _embed_some(space, encoder) for space in list(spaces()) if loaded]
        except Exception:
            # Nobody waits for this work: what stops it now, a full disk, may be gone later.
            log.exception("embedding rests for %s seconds", _REST_SECONDS)
            await asyncio.sleep(_REST_SECONDS)
        else:
            if not any(busy):
                await asyncio.sleep(_LOOK_SECONDS)


async def _can_load(encoder: SentenceEncoder) -> bool:
    try:
        await asyncio.to_thread(encoder.load)
    except Exception:
        log.exception("the sentence encoder cannot be used: the extra `semantic` is off")
        return False
    return True


async def _embed_some(space: Space, encoder: SentenceEncoder) -> bool:
    """Embed one batch of a space; False when there was nothing to do, or a load goes on."""
    if space.loading.locked():
        return False
    for index in (space.index, space.archive):
        keys = index.lacking(BATCH)
        if keys:
            # To the end once begun: the store may not be closed under it.
            await space.finish(_embed(space, encoder, index, keys))
            return True
    return False


async def _embed(
    space: Space, encoder: SentenceEncoder, index: SpaceIndex, keys: Sequence[int]
) -> None:
    texts = await space.read(partial(_texts, keys=keys))
    rows = await asyncio.to_thread(embed, list(texts.values()), encoder)
    embedded = list(zip(texts, rows, strict=True))
    await space.write(partial(embeddings.keep, encoder=NAME, embedded=embedded))
    # What is gone from the store has no text: it counts as done until the index drops it too.
    gone = [(key, b"") for key in keys if key not in texts]
    await asyncio.to_thread(index.add_embedded, embedded + gone)


def _texts(connection: sqlite3.Connection, keys: Sequence[int]) -> dict[int, tuple[str, bool]]:
    """By key the text to embed, and whether it is a turn of a chat."""
    found: dict[int, tuple[str, bool]] = {}
    passages = contents.passages_by_id(connection, [key for key in keys if key > 0])
    found |= {key: (one.text, one.is_turn) for key, one in passages.items()}
    said = findings.by_sequence(connection, [-key for key in keys if key < 0])
    for sequence, one in said.items():
        found[-sequence] = (finding_json.parse(one.body).claim, True)
    return found
