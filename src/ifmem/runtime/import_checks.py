"""Checking an export before anything of it is stored: each byte, each row, and for credentials."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from ifmem import tokens
from ifmem.domain.finding import MAX_FINDING_BYTES, Citation, Finding
from ifmem.engine import exports as rules
from ifmem.engine.masking import mask, mask_values
from ifmem.errors import IfMemError, IntegrityError, Invalid
from ifmem.store.ledger_rows import COLUMNS, row_of
from ifmem.wire import finding_json, task_json
from ifmem.wire.export_file import Heard, Reader
from ifmem.wire.exports import (
    BESIDES,
    FACTS,
    MEMBERS,
    CallRow,
    FindingRow,
    QuarantinedRow,
    Row,
    TaskRow,
    TextRow,
)

_CALL = COLUMNS.split(", ")
_NOT_TAKEN = frozenset({"audit", "tombstones"})


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check found that is no error."""

    unmasked: frozenset[tuple[str, int]]
    """Member and number of rows with something that looks like a credential."""


def check(reader: Reader, heard: Heard) -> Checked:
    """Read all of an export.

    Raises:
        IntegrityError: a byte of it is not as it was written, or its parts contradict each other.
        Invalid: a row is none.
    """
    reader.check_frame()
    facts = [one for one in reader.manifest.members if one.name in FACTS]
    found = rules.content_digest((one.name, one.rows, one.sha256) for one in facts)
    if found != reader.manifest.content_sha256:
        raise IntegrityError("the export's content digest is not that of its members")
    unmasked = set()
    for name in MEMBERS:
        last = 0
        for number, row in enumerate(rows_of(reader, name, heard)):
            try:
                last = _require_order(row, last, reader.manifest.last_sequence)
                suspect = name not in _NOT_TAKEN and _CHECKS.get(name, _is_suspect)(row)
            except (IfMemError, ValueError) as error:
                raise _no_row(name, number, error) from error
            if suspect:
                unmasked.add((name, number))
    return Checked(frozenset(unmasked))


def rows_of(reader: Reader, name: str, heard: Heard = lambda size: None) -> Iterator[Any]:
    """The rows of a member, each of its type."""
    decoder = msgspec.json.Decoder(MEMBERS[name])
    for number, line in enumerate(reader.lines(name, heard)):
        try:
            yield decoder.decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise _no_row(name, number, error) from error


def masked_finding(body: str) -> str:
    """The body of a finding without the credentials in it."""
    values, count = mask_values(msgspec.json.decode(body, type=dict[str, Any]))
    if not count:
        return body
    assert isinstance(values, dict)
    return body_of(replace(finding_json.from_json(values), durable=True))


def body_of(finding: Finding) -> str:
    """A finding whose words changed, with the count and digest of those."""
    counted = replace(finding, tokens=tokens.count(finding.claim))
    said = replace(counted, content_sha256=finding_json.digest(counted))
    return finding_json.to_json(said).decode()


def masked_text(text: str) -> str:
    """A text, or JSON, without the credentials in it."""
    if text[:1] in ("{", "["):
        try:
            values, count = mask_values(msgspec.json.decode(text))
        except msgspec.DecodeError:
            pass
        else:
            return msgspec.json.encode(values).decode() if count else text
    return mask(text).text


def masked_row(row: Row) -> Row:
    """A row whose texts are without credentials."""
    texts = {name: getattr(row, name) for name in row.__struct_fields__}
    return msgspec.structs.replace(
        row, **{name: masked_text(one) for name, one in texts.items() if isinstance(one, str)}
    )


def _require_order(row: Row, last: int, highest: int) -> int:
    if not isinstance(row, FindingRow | QuarantinedRow):
        return last
    if not last < row.sequence <= highest:
        raise Invalid(f"the sequence {row.sequence} is out of order")
    return row.sequence


def _check_text(row: TextRow) -> bool:
    for one in row.sources:
        rules.source_of(one.root, one.path, below=one.below)
    return mask("".join(one.text for one in row.passages)).count > 0


def _check_finding(row: FindingRow) -> bool:
    finding = _parsed(row.body)
    if finding.is_quarantined:
        raise Invalid("a finding in quarantine lies among the others")
    return _is_said_suspect(finding)


def _check_quarantined(row: QuarantinedRow) -> bool:
    finding = _parsed(row.body)
    if not finding.is_quarantined:
        raise Invalid("a finding lies in quarantine without being of that trust")
    return _is_said_suspect(finding)


def _parsed(body: str) -> Finding:
    data = body.encode()
    if len(data) > MAX_FINDING_BYTES:
        raise Invalid(f"a finding takes {len(data):,} bytes; the limit is {MAX_FINDING_BYTES:,}")
    return finding_json.parse(data)


def _is_said_suspect(finding: Finding) -> bool:
    cited = [one for one in finding.citations if isinstance(one, Citation)]
    if finding.unknown or any(one.unknown for one in cited):
        return True
    said = [finding.claim, finding.topic or "", finding.unit or "", finding.worker_id]
    said += finding.tags
    for one in finding.citations:
        said += [one] if isinstance(one, str) else [one.source, one.quote]
    # All at once: what only seems to be one across two of them is looked at again by itself.
    return mask("\n".join(said)).count > 0


def _check_task(row: TaskRow) -> bool:
    task_json.read_body(row.body)
    task_json.reasons_from(row.reasons)
    return _is_suspect(row)


def _check_call(row: CallRow) -> bool:
    row_of([getattr(row, name) for name in _CALL])
    return _is_suspect(row)


def _is_suspect(row: Row) -> bool:
    return masked_row(row) != row


_CHECKS: dict[str, Callable[[Any], bool]] = {
    "documents": _check_text,
    "findings": _check_finding,
    "quarantined": _check_quarantined,
    "tasks": _check_task,
    "calls": _check_call,
}
assert _CHECKS.keys() <= FACTS.keys() and BESIDES.keys() >= _NOT_TAKEN


def _no_row(name: str, number: int, error: Exception) -> Invalid:
    return Invalid(
        f"row {number + 1:,} of {name} in the export is none that ifmem writes: {error}",
        member=name,
        row=number + 1,
    )
