"""Chat logs in JSON and JSON lines: one part per turn, with its speaker and time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath

import msgspec

from ifmem.domain.document import Kind
from ifmem.engine.kinds import kind_of
from ifmem.ingest.readers import plain
from ifmem.ingest.readers.turns import CONVERSATION_IDS, Turn, first_text, is_dialogue, turn_of
from ifmem.ingest.reading import Part, Reading

_WRAPPERS = ("messages", "turns", "chat_messages", "conversation", "conversations", "dialogue")
_LINES = (".jsonl", ".ndjson")

Conversation = tuple[str, list[Turn]]
"""Its title, and its turns in order."""


def read(data: bytes, name: str) -> Reading:
    """The turns of the log; a file that is no chat is read as plain data.

    Known shapes: a list of messages; an object that holds one under ``messages`` or a like name,
    or a list of such objects; the tree of messages of a ChatGPT export; one message, session
    event or conversation per line. Only text is kept of a message: images, thinking, and calls
    and results of tools are not turns.
    """
    text = plain.text_of(data)
    rows = _rows(text, is_lines=PurePosixPath(name).suffix.lower() in _LINES)
    conversations = list(_conversations(rows)) if rows is not None else []
    turns = [turn for _, held in conversations for turn in held]
    if rows is None or not turns:
        kind = kind_of(name)
        return plain.as_text(text, name, kind if kind is Kind.CONFIG else Kind.DATA)
    parts = tuple(_parts(conversations))
    return Reading(parts=parts, kind=Kind.CHAT, format="chat", group=_group(rows) or name)


def _rows(text: str, *, is_lines: bool) -> list[object] | None:
    """The top-level values of the file, or None when it is no JSON."""
    try:
        if not is_lines:
            return [msgspec.json.decode(text)]
        lines = [line for line in text.split("\n") if line.strip()]
        rows: list[object] = []
        for number, line in enumerate(lines, start=1):
            try:
                rows.append(msgspec.json.decode(line))
            except msgspec.DecodeError:
                # A session still being written, or cut off by a crash, ends in half a line.
                if number == 1 or number < len(lines):
                    return None
        return rows
    except (msgspec.DecodeError, RecursionError):
        return None


def _conversations(rows: Sequence[object]) -> Iterator[Conversation]:
    """The conversations in the rows; none when a row is something else."""
    if len(rows) == 1 and isinstance(rows[0], list):
        rows = rows[0]
    wrapped = [_wrapped(row) for row in rows]
    if any(held is not None for held in wrapped):
        yield from (held for held in wrapped if held is not None)
        return
    turns = [turn for row in rows if (turn := turn_of(row)) is not None]
    if is_dialogue(turns, rows):
        yield "", turns


def _wrapped(row: object) -> Conversation | None:
    """The conversation an object holds, if it holds one."""
    if not isinstance(row, Mapping):
        return None
    title = first_text(row, ("title", "name", "summary")) or ""
    tree = row.get("mapping")
    if isinstance(tree, Mapping):
        turns = _of_tree(tree, row.get("current_node"))
        return (title, turns) if turns else None
    for key in _WRAPPERS:
        messages = row.get(key)
        if isinstance(messages, list) and messages:
            turns = [turn for message in messages if (turn := turn_of(message)) is not None]
            if is_dialogue(turns, messages):
                return title, turns
    return None


def _of_tree(tree: Mapping[str, object], current: object) -> list[Turn]:
    """The branch of a message tree that was last shown, from its root."""
    if not isinstance(current, str) or current not in tree:
        # Without a mark, the newest message ends the branch: exports list nodes in time order.
        current = list(tree)[-1] if tree else None
    branch: list[Turn] = []
    seen: set[str] = set()
    while isinstance(current, str) and current not in seen:
        seen.add(current)
        node = tree.get(current)
        if not isinstance(node, Mapping):
            break
        turn = turn_of(node.get("message"))
        if turn is not None:
            branch.append(turn)
        current = node.get("parent")
    return branch[::-1]


def _parts(conversations: Sequence[Conversation]) -> Iterator[Part]:
    number = 0
    for title, turns in conversations:
        for turn in turns:
            number += 1
            yield Part(
                text=f"{turn.speaker}: {turn.text}\n",
                kind=Kind.CHAT,
                name="turn.txt",
                header=title,
                speaker=turn.speaker,
                said_at=turn.said_at,
                locator=f"turn {number}",
            )


def _group(rows: Sequence[object]) -> str | None:
    """The id of the conversation, when the file has exactly one."""
    if len(rows) == 1 and isinstance(rows[0], list):
        rows = rows[0]
    records = [row for row in rows if isinstance(row, Mapping)]
    ids = {found for row in records if (found := first_text(row, CONVERSATION_IDS))}
    if not ids and len(records) == 1:
        return first_text(records[0], ("id", "uuid"))
    return ids.pop() if len(ids) == 1 else None
