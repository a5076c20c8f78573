"""Messages between agents: sent, awaited, acknowledged, swept, and put back on a lost bus."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from functools import partial
from typing import Any

from ifmem import clock
from ifmem.bus.messages import Taken
from ifmem.domain.message import DEFAULT_LIFE, Delivery, Message
from ifmem.errors import Invalid, OutcomeUnknown, Unavailable
from ifmem.runtime.space import Logged, Space
from ifmem.store import messages
from ifmem.wire.message_calls import (
    AcknowledgeMessagesCall,
    FollowTopicCall,
    ReceiveCall,
    SendCall,
    UnfollowTopicCall,
)
from ifmem.wire.shapes import AcknowledgedMessages, Following, Page, ReceivedMessage, SentMessage

LONGEST_WAIT_S = 3_600.0
_SWEPT_TOGETHER = 1_000
_RESTORED_TOGETHER = 500
"""Messages held in memory at once: each may take 64 KB."""


async def send(space: Space, call: SendCall) -> SentMessage:
    """Send a message; it is durable when this returns. Repeating its id changes nothing.

    Raises:
        Invalid: a field breaks a rule; nothing is sent.
        Refused: an inbox is full; nobody got it.
        Unavailable: the bus takes nothing new; nothing was sent.
        OutcomeUnknown: send it again with the same id.
    """
    message = _message(space, call)
    message_id = message.message_id
    # The bus remembers an id for an hour after everybody is done with it, the store as long as
    # the message may live.
    known = await space.read(partial(messages.sequence_of, message_id=message_id))
    if known is not None:
        return SentMessage(message_id, "known", known, [])
    sent = await _certain(
        space, lambda: space.bus.messages.send(message), durable=call.durable, id=message_id
    )
    outcome = "sent" if sent.is_new else "known"
    return SentMessage(
        message_id, outcome, sent.sequence, list(sent.recipients), masked=sent.masked
    )


async def receive(space: Space, call: ReceiveCall) -> Page[ReceivedMessage]:
    """Take the oldest messages of an inbox; waits for the first one, if asked to.

    Raises:
        Invalid: a name, limit or time breaks its rule.
        Unavailable: the bus does not answer. What was taken for us then is delivered again.
    """
    if not 0 <= call.wait_seconds <= LONGEST_WAIT_S:
        raise Invalid(f"wait is {call.wait_seconds:g} seconds: give 0 to {LONGEST_WAIT_S:,.0f}")
    deadline = clock.monotonic() + call.wait_seconds
    with space.arrivals.waiting(call.agent) as woken:
        while True:
            # Before the look: what comes after it is not missed.
            woken.clear()
            taken = await space.insist(partial(_take, space, call))
            left = deadline - clock.monotonic()
            if taken.deliveries or left <= 0:
                return Page([_received(one) for one in taken.deliveries])
            await _awaited(woken, left, taken.next_redelivery)


async def acknowledge_messages(space: Space, call: AcknowledgeMessagesCall) -> AcknowledgedMessages:
    """Say that an agent is done with messages; durable when this returns, and may be repeated.

    Raises:
        OutcomeUnknown: acknowledge them again.
    """
    step = partial(space.bus.messages.acknowledge, call.agent, call.ids)
    marked = await _certain(space, step, durable=call.durable, agent=call.agent)
    return AcknowledgedMessages(call.agent, marked.count)


async def follow_topic(space: Space, call: FollowTopicCall) -> Following:
    """Have an agent get what is sent to a topic from now on; durable when this returns.

    Raises:
        Refused: the topic has as many followers as it may have.
    """
    step = partial(space.bus.messages.follow, call.agent, call.topic)
    marked = await _certain(space, step, durable=call.durable, agent=call.agent, topic=call.topic)
    return Following(call.agent, call.topic, follows=True, changed=marked.count > 0)


async def unfollow_topic(space: Space, call: UnfollowTopicCall) -> Following:
    """End that; what was sent before stays in the inbox."""
    step = partial(space.bus.messages.unfollow, call.agent, call.topic)
    marked = await _certain(space, step, durable=call.durable, agent=call.agent, topic=call.topic)
    return Following(call.agent, call.topic, follows=False, changed=marked.count > 0)


async def restore_messages(space: Space) -> None:
    """Put messages and topics of the store back on the bus; safe to repeat.

    What the log holds must have been drained, and new writes be refused meanwhile.
    """
    last = await space.read(messages.last_sequence)
    page = partial(messages.open_messages, now_ms=_now_ms(), limit=_RESTORED_TOGETHER)
    waiting = await space.read(page)
    while waiting:
        await space.bus.messages.restore(waiting, [], last=last)
        newest = waiting[-1]
        waiting = await space.read(partial(page, after=(newest.sequence, newest.message_id)))
    topics = await space.read(messages.topics)
    done: dict[str, list[str]] = {}
    # A server that came back older than the store still holds what was acknowledged since.
    for agent in await space.read(messages.agents):
        held = await space.bus.messages.held(agent)
        if held:
            done[agent] = await space.read(partial(messages.done_among, agent=agent, ids=held))
    await space.bus.messages.restore([], topics, last=last, done=done)


async def sweep_messages(space: Space) -> int:
    """Drop what nobody acknowledged in its time, also where nobody reads; how many were dropped.

    Raises:
        Unavailable: the bus does not answer, or takes nothing new.
    """
    now = _now_ms()
    dropped = 0
    over = await space.read(partial(messages.overdue, now_ms=now, limit=_SWEPT_TOGETHER))
    for agent, ids in over.items():
        dropped += await space.bus.messages.expire(agent, ids)
    await space.write(partial(messages.expire, now_ms=now))
    return dropped


def _message(space: Space, call: SendCall) -> Message:
    life = DEFAULT_LIFE
    if call.expires_seconds is not None:
        try:
            life = timedelta(seconds=call.expires_seconds)
        except (OverflowError, ValueError) as error:
            raise Invalid("expires is no time: give seconds, up to 30 days") from error
    return Message(
        message_id=call.id or clock.new_id(),
        sender=call.sender or space.worker_id,
        body=call.body,
        to=call.to,
        topic=call.topic,
        action_type=call.action_type,
        reply_to=call.reply_to,
        correlation_id=call.correlation_id,
        life=life,
    )


async def _take(space: Space, call: ReceiveCall) -> Taken:
    try:
        visibility = timedelta(seconds=call.visibility_seconds)
    except (OverflowError, ValueError) as error:
        raise Invalid("visibility is no time: give seconds, up to 12 hours") from error
    return await space.bus.messages.receive(call.agent, limit=call.limit, visibility=visibility)


async def _awaited(woken: asyncio.Event, left: float, redelivery: timedelta | None) -> None:
    """Wait for a hint, the deadline, or the time at which something is delivered again."""
    if redelivery is not None:
        left = min(left, clock.in_seconds(redelivery))
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(left):
            await woken.wait()


async def _certain(
    space: Space, step: Callable[[], Awaitable[Logged]], *, durable: bool, **facts: object
) -> Logged:
    """Do and commit a step; when the bus stays away nobody knows what became of it."""
    try:
        return await space.commit(step, durable=durable, **facts)
    except OutcomeUnknown:
        raise
    except Unavailable as error:
        if error.facts.get("outcome"):
            raise
        raise OutcomeUnknown(f"{error.message}; repeat it to be sure", **facts) from error


def _received(one: Delivery) -> ReceivedMessage:
    message = one.message
    body: Mapping[str, Any] | str = message.body
    return ReceivedMessage(
        message_id=message.message_id,
        sender=message.sender,
        body=body if isinstance(body, str) else dict(body),
        delivery=one.number,
        sequence=one.sequence,
        sent_at=clock.stamp_of_ms(one.sent_ms),
        expires_at=clock.stamp_of_ms(one.expires_ms),
        to=message.to,
        topic=message.topic,
        action_type=message.action_type,
        reply_to=message.reply_to,
        correlation_id=message.correlation_id,
    )


def _now_ms() -> int:
    return int(clock.now().timestamp() * 1_000)
