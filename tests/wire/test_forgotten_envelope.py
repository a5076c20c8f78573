"""The envelope that tells of the forgotten: read by who keeps copies, passed over by the others."""

from __future__ import annotations

import msgspec
import pytest

from ifmem.wire.envelopes import Forgot, Hint, forgot, read_announcement, read_envelope

SAID = Forgot("finding", ("00000000-0000-4000-8000-000000000001",), ("x",))


def test_it_is_read_as_it_was_written() -> None:
    payload = forgot(SAID, tracking_id="t", origin="ada", at="2026-01-01T00:00:00Z")
    assert read_announcement(payload) == SAID
    envelope = read_envelope(payload)
    assert (envelope.tracking_id, envelope.origin) == ("t", "ada")


@pytest.mark.parametrize(
    "contents",
    [{"forgotten": None}, {"forgotten": {"kind": 1, "ids": []}}, {"forgotten": {"ids": 3}}],
)
def test_what_is_none_is_a_hint_at_nothing(contents: object) -> None:
    payload = msgspec.json.encode({"tracking_id": "t", "origin": "o", "contents": contents})
    assert read_announcement(payload) == Hint(None)


def test_what_is_no_text_in_it_is_passed_over() -> None:
    told = {"kind": "document", "ids": ["/a", 7], "revoked": "x"}
    payload = msgspec.json.encode({"contents": {"forgotten": told}})
    assert read_announcement(payload) == Forgot("document", ("/a",), ())
