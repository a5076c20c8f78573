"""Calls on their way over the bus: what a client daemon asks, and what the bridge sends back."""

from __future__ import annotations

from typing import Any

import msgspec

from ifmem.errors import Invalid


class ForwardedCall(msgspec.Struct, frozen=True, tag="call", tag_field="kind"):
    """A call of the daemon's protocol, for the bridge to do."""

    id: str
    """A uuid; also names the list of its replies."""
    caller: str
    """The client daemon as a worker: host and process."""
    method: str
    until_ms: int
    """By the server's clock: not begun by then, it is dropped."""
    params: msgspec.Raw = msgspec.Raw(b"{}")


class StillThere(msgspec.Struct, frozen=True, tag="still-there", tag_field="kind"):
    """The caller waits on; without this the bridge ends the call after a while."""

    id: str


class Cancel(msgspec.Struct, frozen=True, tag="cancel", tag_field="kind"):
    """The caller went away: the call ends."""

    id: str


class Begun(msgspec.Struct, frozen=True, tag="begun", tag_field="kind"):
    """The bridge has taken the call."""

    bridge: str
    """Id of its process's hold, as in its lease."""


class Event(msgspec.Struct, frozen=True, tag="event", tag_field="kind"):
    """Something that is told while the call goes on."""

    event: dict[str, Any]


class Result(msgspec.Struct, frozen=True, tag="result", tag_field="kind"):
    """The end of a call that worked."""

    result: msgspec.Raw


class Failure(msgspec.Struct, frozen=True, tag="error", tag_field="kind"):
    """The end of a call that did not: ``errors.to_wire``."""

    error: dict[str, Any]


class Lost(msgspec.Struct, frozen=True, tag="lost", tag_field="kind"):
    """The bridge does not know the call, or not any more."""


Order = ForwardedCall | StillThere | Cancel
Part = Begun | Event | Result | Failure | Lost

_order: msgspec.json.Decoder[Order] = msgspec.json.Decoder(Order)
_part: msgspec.json.Decoder[Part] = msgspec.json.Decoder(Part)


def read_order(body: bytes) -> Order:
    """What the list of calls holds.

    Raises:
        Invalid: it is nothing that this version knows.
    """
    try:
        return _order.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Invalid(f"this is no forwarded call: {error}") from error


def read_part(body: bytes) -> Part:
    """What the list of a call's replies holds.

    Raises:
        Invalid: it is nothing that this version knows.
    """
    try:
        return _part.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Invalid(f"this is no reply to a forwarded call: {error}") from error
