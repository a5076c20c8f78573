"""Messages between agents on the bus: sent, taken, acknowledged, and put back from the store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from redis.asyncio import Redis

from ifmem.bus.replies import by_the_thousand, raise_refusal, text, translated
from ifmem.bus.server_side import ServerSide
from ifmem.domain.message import (
    INBOX_LIMIT,
    Delivery,
    Message,
    OpenMessage,
    TopicFollowers,
    require_name,
)
from ifmem.engine.masking import mask, mask_values
from ifmem.errors import Invalid, Refused
from ifmem.wire import keys, message_json
from ifmem.wire.keys import Keys

MOST_AT_ONCE = 100
"""Messages taken in one call."""
SHORTEST_VISIBILITY = timedelta(seconds=1)
LONGEST_VISIBILITY = timedelta(hours=12)
_DROPPED_TOGETHER = 100
"""Each has an entry in the log, which is looked at before each call."""
_RESTORED_TOGETHER = 100
"""Messages in one round trip: each may take 64 KB."""


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of a message that was sent."""

    is_new: bool
    """False when the id was known: nothing was changed."""
    sequence: int
    entry: str
    """Durable once the store has committed this entry."""
    recipients: tuple[str, ...]
    """Who got it; empty also when the id was known."""
    masked: int
    """Credentials masked in it."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What an agent took from its inbox."""

    deliveries: tuple[Delivery, ...]
    """Oldest first."""
    unreadable: tuple[str, ...]
    """Ids of messages that this version cannot read; they are delivered again until they expire."""
    next_redelivery: timedelta | None
    """When something taken earlier is delivered again; None when nothing is."""


@dataclass(frozen=True, slots=True)
class Marked:
    """What became of an acknowledgement, or of following or leaving a topic."""

    count: int
    """How many were changed; 0 when it had been said before."""
    entry: str
    """Durable once the store has committed this entry."""

    @property
    def is_new(self) -> bool:
        """False when nothing was changed: the entry is of somebody else then."""
        return self.count > 0


class Mailbox:
    """The inboxes and topics of one space.

    Guarantees:
        order: an agent's messages are first delivered in the order of their sequences.
        delivery: at least once, until acknowledged or expired. What was taken and not acknowledged
            within its visibility is delivered again, with a higher number.
        duplicates: carry the same id.
        topics: a message goes to who follows when it is sent, to all of them or to none.

    Raises (every method):
        Unavailable: the server did not answer, and every call may be repeated; or it takes nothing
            new, and nothing was changed: ``facts["outcome"]`` is ``busy`` or ``refusing`` then.
    """

    def __init__(self, client: Redis, keys: Keys, server: ServerSide) -> None:
        self.keys = keys
        self._client = client
        self._server = server

    async def send(self, message: Message) -> Sent:
        """Put a message into the inboxes of its recipients, its credentials masked.

        Raises:
            Invalid: the body is too large, or no JSON.
            Refused: an inbox is full; nobody got it. ``facts`` has ``outcome`` and ``agent``.
        """
        bare, masked = _masked(message)
        body = message_json.to_json(bare)
        to, topic = message.to or "", message.topic or ""
        async with translated():
            word, *rest = await self._server.call(
                "send_message", message.message_id, to, topic, body, _ms(message.life)
            )
        raise_refusal(word, rest)
        if word == "full":
            agent = text(rest[0]) or "?"
            raise Refused(
                f"the inbox of {agent} is full ({INBOX_LIMIT:,} messages): nobody got this one; "
                "send it again when it has read some",
                outcome="full",
                agent=agent,
                limit=INBOX_LIMIT,
            )
        recipients = tuple(text(one) or "?" for one in rest[2:])
        return Sent(word == "new", int(rest[0]), text(rest[1]) or "0-0", recipients, masked)

    async def receive(self, agent: str, *, limit: int, visibility: timedelta) -> Taken:
        """Take the oldest messages of an agent's inbox; about one megabyte at most.

        Args:
            agent: several readers may take for one agent: each message goes to one of them.
            limit: at most so many, up to ``MOST_AT_ONCE``.
            visibility: after this, what is not acknowledged is delivered again.
        """
        require_name(agent, "agent")
        if not 1 <= limit <= MOST_AT_ONCE:
            raise Invalid(f"limit is {limit}: take 1 to {MOST_AT_ONCE} messages at a time")
        if not SHORTEST_VISIBILITY <= visibility <= LONGEST_VISIBILITY:
            raise Invalid(
                f"visibility is {visibility.total_seconds():g} seconds: give one second to 12 hours"
            )
        async with translated():
            _, wait_ms, *rows = await self._server.call(
                "receive_messages", agent, limit, _ms(visibility)
            )
        deliveries, unreadable = [], []
        for row in rows:
            try:
                deliveries.append(_delivery(row))
            except Invalid:
                unreadable.append(text(row[0]) or "?")
        wait = None if int(wait_ms) < 0 else timedelta(milliseconds=int(wait_ms))
        return Taken(tuple(deliveries), tuple(unreadable), wait)

    async def acknowledge(self, agent: str, ids: Sequence[str]) -> Marked:
        """Say that an agent is done with messages; those it has not, or no more, are passed over.

        Raises:
            Invalid: more than 1,000 at once.
        """
        require_name(agent, "agent")
        if len(ids) > 1_000:
            raise Invalid(f"{len(ids):,} messages are too many: acknowledge up to 1,000 at a time")
        async with translated():
            word, *rest = await self._server.call(
                "acknowledge_messages", agent, *dict.fromkeys(ids)
            )
        raise_refusal(word, rest)
        return Marked(int(rest[0]), text(rest[1]) or "0-0")

    async def follow(self, agent: str, topic: str) -> Marked:
        """Have an agent get what is sent to a topic from now on.

        Raises:
            Refused: a thousand agents follow it already.
        """
        return await self._topic("follow_topic", agent, topic)

    async def unfollow(self, agent: str, topic: str) -> Marked:
        """End that; what was sent before stays in the inbox."""
        return await self._topic("unfollow_topic", agent, topic)

    async def expire(self, agent: str, ids: Sequence[str]) -> int:
        """Drop those of these messages whose time is over by the server's clock; how many."""
        dropped = 0
        for first in range(0, len(ids), _DROPPED_TOGETHER):
            some = ids[first : first + _DROPPED_TOGETHER]
            async with translated():
                word, *rest = await self._server.call("expire_messages", agent, *some)
            raise_refusal(word, rest)
            dropped += int(rest[0])
        return dropped

    async def held(self, agent: str) -> list[str]:
        """The ids that the bus holds for an agent, taken or not."""
        found: list[Any] = []
        async with translated():
            for kind in (keys.INBOX, keys.UNACKED):
                found += await self._client.zrange(self.keys.of(kind, agent=agent), 0, -1)
        return [text(one) or "?" for one in found]

    async def restore(
        self,
        messages: Sequence[OpenMessage],
        topics: Sequence[TopicFollowers],
        *,
        last: int,
        done: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        """Write what the store has; what the bus has beyond that stays. May be repeated.

        Args:
            messages: all that somebody has not acknowledged; their deliveries count from 1 again.
            topics: all followers.
            last: new messages get sequences above this one.
            done: by agent, what the bus still holds and the store knows to be done.
        """
        async with translated():
            await self._server.call("number_messages", last)
            for first in range(0, len(messages), _RESTORED_TOGETHER):
                batch = messages[first : first + _RESTORED_TOGETHER]
                await self._server.call_many("restore_messages", [_restored(one) for one in batch])
            await self._server.call_many(
                "restore_topic",
                [(one.topic, len(one.followers), *one.followers, *one.left) for one in topics],
            )
            for agent, ids in (done or {}).items():
                for some in by_the_thousand(ids):
                    await self._server.call("settle_messages", agent, *some)

    async def _topic(self, function: str, agent: str, topic: str) -> Marked:
        require_name(agent, "agent")
        require_name(topic, "topic")
        async with translated():
            word, *rest = await self._server.call(function, agent, topic)
        raise_refusal(word, rest)
        if word == "full":
            raise Refused(
                f"topic {topic} has as many followers as it may have: use another topic",
                outcome="full",
                topic=topic,
            )
        return Marked(int(word == "new"), text(rest[0]) or "0-0")


def _masked(message: Message) -> tuple[Message, int]:
    for name in (message.sender, message.to, message.topic):
        if name is not None and mask(name).count:
            raise Invalid("a name has the form of a credential: call the agent or topic otherwise")
    said = (message.body, message.action_type, message.correlation_id)
    try:
        masked, count = mask_values(said)
    except RecursionError as error:
        raise Invalid("the body is nested too deeply: send a flatter object") from error
    assert isinstance(masked, tuple)
    body, action_type, correlation_id = masked
    if not count:
        return message, 0
    return replace(
        message, body=body, action_type=action_type, correlation_id=correlation_id
    ), count


def _delivery(row: Sequence[Any]) -> Delivery:
    message_id, sequence, sent, expires, number, body = row
    message = message_json.parse(body)
    if message.message_id != text(message_id):
        raise Invalid(f"the body of message {text(message_id)} is of {message.message_id}")
    return Delivery(
        message=message,
        sequence=int(sequence),
        sent_ms=int(sent),
        expires_ms=int(expires),
        number=int(number),
    )


def _restored(one: OpenMessage) -> tuple[str | bytes | int, ...]:
    return (
        one.message_id,
        one.sequence,
        one.sent_ms,
        one.expires_ms,
        one.body,
        *one.recipients,
    )


def _ms(duration: timedelta) -> int:
    return int(duration / timedelta(milliseconds=1))
