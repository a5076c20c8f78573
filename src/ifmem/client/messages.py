"""The verbs by which agents write to each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ifmem import clock
from ifmem.client.loop import Loop
from ifmem.client.overview import Overview
from ifmem.clock import new_id
from ifmem.domain.finding import require_uuid
from ifmem.wire import message_calls
from ifmem.wire.shapes import AcknowledgedMessages, Following, Page, ReceivedMessage, SentMessage

_WAIT_S = 20.0
"""The longest wait of one call: one whose caller went away takes no message after that."""
_ANSWER_SLACK_S = 60.0


class MessageVerbs(Overview):
    """A connected memory, as far as agents send messages through it."""

    async def send(
        self,
        body: Mapping[str, Any] | str,
        *,
        to: str | None = None,
        topic: str | None = None,
        id: str | None = None,
        sender: str | None = None,
        action_type: str | None = None,
        reply_to: str | None = None,
        correlation_id: str | None = None,
        expires: float | None = None,
        durable: bool = True,
    ) -> SentMessage:
        """Send a message to an agent, or to all who follow a topic now; it is durable then.

        Args:
            body: a text, or an object of JSON-compatible values; at most 64 KB.
            to: the agent: up to 128 letters, digits and ``. _ @ -``.
            topic: instead of ``to``; named as agents are.
            id: a uuid; repeating the call with it sends the message once.
            sender: who says it; by default the daemon's name.
            action_type: ``question``, ``proposal`` … in up to 64 characters.
            reply_to: the id of the message that this one answers.
            correlation_id: whatever tells which messages belong together.
            expires: seconds it may wait to be acknowledged; by default a week, at most 30 days.
            durable: False returns once the bus has it.

        Example:
            await memory.send("The build is green", to="ada", sender="ci")

        Raises:
            Invalid: a field breaks its rule; nothing is sent.
            Refused: an inbox is full; nobody got it.
            OutcomeUnknown: ``error.facts["id"]`` is the id to repeat it with.
        """
        message_id = require_uuid(id) if id is not None else new_id()
        call = message_calls.SendCall(
            body=body if isinstance(body, str) else dict(body),
            to=to,
            topic=topic,
            id=message_id,
            sender=sender,
            action_type=action_type,
            reply_to=reply_to,
            correlation_id=correlation_id,
            expires_seconds=expires,
            durable=durable,
        )
        return await self._call("send", call, SentMessage, id=message_id)

    async def receive(
        self, agent: str, *, limit: int = 10, wait: float = 0.0, visibility: float = 60.0
    ) -> Page[ReceivedMessage]:
        """Take the oldest messages of an agent's inbox; acknowledge each when it is dealt with.

        Args:
            agent: whose inbox; several processes may take from one.
            limit: at most so many, up to 100.
            wait: seconds to wait for the first one.
            visibility: seconds after which what is not acknowledged is delivered again, with a
                higher ``delivery``.

        Example:
            for message in await memory.receive("ada", wait=30):
                print(message.sender, message.body)
                await memory.acknowledge("ada", message.message_id)
        """
        deadline = clock.monotonic() + wait
        while True:
            left = min(wait, _WAIT_S, max(0.0, deadline - clock.monotonic()))
            call = message_calls.ReceiveCall(
                agent=agent, limit=limit, wait_seconds=left, visibility_seconds=visibility
            )
            taken = await self._call(
                "receive", call, Page[ReceivedMessage], within=_WAIT_S + _ANSWER_SLACK_S
            )
            if taken.items or clock.monotonic() >= deadline:
                return taken

    async def acknowledge(
        self, agent: str, *ids: str, durable: bool = True
    ) -> AcknowledgedMessages:
        """Say that an agent is done with these messages; saying it again changes nothing."""
        call = message_calls.AcknowledgeMessagesCall(agent=agent, ids=ids, durable=durable)
        return await self._call("acknowledge_messages", call, AcknowledgedMessages, agent=agent)

    async def join_topic(self, agent: str, topic: str) -> Following:
        """Have an agent get what is sent to a topic from now on."""
        call = message_calls.FollowTopicCall(agent=agent, topic=topic)
        return await self._call("follow_topic", call, Following, agent=agent, topic=topic)

    async def leave_topic(self, agent: str, topic: str) -> Following:
        """End that; what was sent before stays in the inbox."""
        call = message_calls.UnfollowTopicCall(agent=agent, topic=topic)
        return await self._call("unfollow_topic", call, Following, agent=agent, topic=topic)


class BlockingMessages:
    """The same verbs, each waiting for its result."""

    _memory: MessageVerbs
    _loop: Loop

    def send(
        self,
        body: Mapping[str, Any] | str,
        *,
        to: str | None = None,
        topic: str | None = None,
        id: str | None = None,
        sender: str | None = None,
        action_type: str | None = None,
        reply_to: str | None = None,
        correlation_id: str | None = None,
        expires: float | None = None,
        durable: bool = True,
    ) -> SentMessage:
        """Send a message to an agent, or to all who follow a topic now; it is durable then."""
        verb = self._memory.send(
            body,
            to=to,
            topic=topic,
            id=id,
            sender=sender,
            action_type=action_type,
            reply_to=reply_to,
            correlation_id=correlation_id,
            expires=expires,
            durable=durable,
        )
        return self._loop.run(verb)

    def receive(
        self, agent: str, *, limit: int = 10, wait: float = 0.0, visibility: float = 60.0
    ) -> Page[ReceivedMessage]:
        """Take the oldest messages of an agent's inbox; acknowledge each when it is dealt with."""
        return self._loop.run(
            self._memory.receive(agent, limit=limit, wait=wait, visibility=visibility)
        )

    def acknowledge(self, agent: str, *ids: str, durable: bool = True) -> AcknowledgedMessages:
        """Say that an agent is done with these messages; saying it again changes nothing."""
        return self._loop.run(self._memory.acknowledge(agent, *ids, durable=durable))

    def join_topic(self, agent: str, topic: str) -> Following:
        """Have an agent get what is sent to a topic from now on."""
        return self._loop.run(self._memory.join_topic(agent, topic))

    def leave_topic(self, agent: str, topic: str) -> Following:
        """End that; what was sent before stays in the inbox."""
        return self._loop.run(self._memory.leave_topic(agent, topic))
