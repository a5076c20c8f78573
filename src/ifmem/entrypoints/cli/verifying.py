"""The command `verify`: which citations and audit rows can no longer be believed, and why."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ifmem.entrypoints.cli.paper import Accent, Bold, Dim, Paper, count
from ifmem.entrypoints.cli.progress import shown
from ifmem.entrypoints.cli.session import Session, command
from ifmem.errors import Invalid

if TYPE_CHECKING:
    from ifmem.client.memory import Memory
    from ifmem.wire.audit_calls import AuditCheck, CheckpointCheck
    from ifmem.wire.verify_calls import Verification

_MISSING = "missing"
_PUBLIC_KEY = re.compile(r"[0-9a-fA-F]{64}")
_HOLDS = {
    True: "holds",
    False: "holds, by the key it names itself: who signed it is checked with --public-key FILE",
}


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "verify")(verify)


async def verify(
    session: Session,
    source: Annotated[
        str | None, typer.Option("--source", help="Only citations of it, or of what lies below it.")
    ] = None,
    finding: Annotated[
        str | None, typer.Option("--finding", help="Only those of this one.")
    ] = None,
    since: Annotated[
        str, typer.Option("--since", metavar="CURSOR", help="Only those of later findings.")
    ] = "0",
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 1 for what is stale, too.")
    ] = False,
    records: Annotated[
        bool, typer.Option("--records", help="Citation v1.0 records instead, signed, one a line.")
    ] = False,
    checkpoint: Annotated[
        Path | None,
        typer.Option("--checkpoint", help="A file that `audit checkpoint` printed, to hold it to."),
    ] = None,
    public_key: Annotated[
        Path | None,
        typer.Option("--public-key", help="A file with the key that must have signed it."),
    ] = None,
) -> int:
    """Look up every citation in its source again, and walk the chain of the audit.

    Exits with 1 when the audit is broken, or evidence is disputed or missing.
    """
    if public_key is not None and checkpoint is None:
        raise Invalid("--public-key says who signed a checkpoint: give --checkpoint FILE as well")
    given = None if checkpoint is None else _checkpoint_in(checkpoint)
    key = "" if public_key is None else _public_key_in(public_key)
    chosen: dict[str, Any] = {"source": source, "finding": finding, "since": since}
    with shown(session, "verifying") as advance:
        async with session.memory() as memory:
            if records:
                return await _write_records(
                    memory, strict=strict, checkpoint=given, public_key=key, **chosen
                )
            checked = await memory.verify(
                **chosen,
                problems_only=not session.options.as_json,
                checkpoint=given,
                public_key=key,
                on_progress=advance,
            )
    session.give(checked, lambda paper: draw(paper, checked, key))
    return int(not checked.holds(strict=strict))


def draw(paper: Paper, checked: Verification, public_key: str) -> None:
    """What is not verified, and how much there is of everything.

    Args:
        public_key: that a checkpoint was held to; empty for the one it names itself.
    """
    for one in checked.citations:
        paper.line(
            Bold(f"{one.status:<10}"),
            " ",
            Accent(paper.place(one.source, one.lines)),
            Dim(f"  {one.finding_id}"),
            f"  {one.why}" if one.why else "",
        )
    total = sum(
        getattr(checked, name)
        for name in ("verified", "stale", "missing", "disputed", "unverified", "revoked")
    )
    paper.line(
        f"{count(total, 'citation')} of {count(checked.findings, 'finding')}: "
        f"{checked.verified:,} verified, {checked.stale:,} stale, {checked.missing:,} missing, "
        f"{checked.disputed:,} disputed, {checked.unverified:,} unverified, "
        f"{checked.revoked:,} revoked"
    )
    for line in _audit_lines(checked.audit, checked.checkpoint, public_key):
        paper.line(line)


def _audit_lines(
    audit: AuditCheck, checkpoint: CheckpointCheck | None, public_key: str
) -> list[str]:
    accepted = f", {count(audit.accepted, 'accepted break')}" if audit.accepted else ""
    state = "intact" if audit.intact else f"BROKEN at row {audit.first_broken}: {audit.why}"
    lines = [f"audit: {count(audit.rows, 'row')}, {state}{accepted}"]
    if checkpoint is not None:
        held = _HOLDS[bool(public_key)] if checkpoint.holds else f"DOES NOT HOLD: {checkpoint.why}"
        lines.append(f"checkpoint of row {checkpoint.rows:,}: {held}")
    return lines


async def _write_records(
    memory: Memory,
    *,
    strict: bool,
    checkpoint: dict[str, Any] | None,
    public_key: str,
    **chosen: Any,
) -> int:
    """Records on stdout, one a line; what the audit says on stderr."""
    import msgspec

    lost = {"disputed", *(["stale"] if strict else [])}
    is_lost = False
    async for record in memory.citation_records(**chosen):
        sys.stdout.write(msgspec.json.encode(record).decode() + "\n")
        found = (record.meta or {}).get("found")
        is_lost = is_lost or record.status in lost or found == _MISSING
    verdict = await memory.verify_audit(checkpoint=checkpoint, public_key=public_key)
    for line in _audit_lines(verdict.audit, verdict.checkpoint, public_key):
        sys.stderr.write(line + "\n")
    held = verdict.checkpoint is None or verdict.checkpoint.holds
    return int(is_lost or not verdict.audit.intact or not held)


def _checkpoint_in(path: Path) -> dict[str, Any]:
    try:
        read = json.loads(_text_in(path))
    except ValueError as error:
        raise Invalid(f"{path} holds no checkpoint: it is no JSON") from error
    if not isinstance(read, dict):
        raise Invalid(f"{path} holds no checkpoint: it is no JSON object")
    return read


def _public_key_in(path: Path) -> str:
    key = _text_in(path).strip()
    if not _PUBLIC_KEY.fullmatch(key):
        raise Invalid(
            f"{path} holds no public key: name the .pub file that `ifmem audit keygen` wrote"
        )
    return key


def _text_in(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise Invalid(f"{path} cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise Invalid(f"{path} cannot be read (it is no text)") from error
