"""Messages on a real server: in order, again until acknowledged, to all followers or to nobody."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import msgspec
import pytest
import redis
from redis.asyncio import Redis

from ifmem.bus.messages import MOST_AT_ONCE, Mailbox, Sent, Taken
from ifmem.bus.server_side import ServerSide
from ifmem.domain.message import INBOX_LIMIT, Message, OpenMessage, TopicFollowers
from ifmem.errors import Invalid, Refused, Unavailable
from ifmem.wire import keys as names
from ifmem.wire.keys import Keys

PATIENCE_S = 60
MINUTE = timedelta(minutes=1)
KEYS = Keys()
SECRET = "gh" + "p_" + "Ab1c" * 9


def uuid(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012d}"


def message(number: int, body: Any = "", *, to: str | None = "ada", **fields: Any) -> Message:
    body = body or f"number {number}"
    return Message(message_id=uuid(number), sender="grace", body=body, to=to, **fields)


def run(url: str, work: Callable[[Mailbox], Awaitable[None]], keys: Keys = KEYS) -> None:
    """Does ``work`` with a mailbox, and fails when it takes unreasonably long."""

    async def main() -> None:
        async with asyncio.timeout(PATIENCE_S), Redis.from_url(url, protocol=3) as client:
            # A bridge has opened the space.
            state = {"limit": "10000", "refusing": ""}
            await client.hset(keys.of(names.LOG_STATE), mapping=state)
            await work(Mailbox(client, keys, ServerSide(client, keys)))

    asyncio.run(main())


async def take(mailbox: Mailbox, agent: str = "ada", limit: int = 10) -> Taken:
    return await mailbox.receive(agent, limit=limit, visibility=MINUTE)


def bodies(taken: Taken) -> list[Any]:
    return [one.message.body for one in taken.deliveries]


def numbers(taken: Taken) -> list[int]:
    return [one.number for one in taken.deliveries]


def redeliver(plain: redis.Redis, *ids: int, agent: str = "ada") -> None:
    """The visibility of these messages is over."""
    plain.zadd(KEYS.of(names.UNACKED, agent=agent), {uuid(n): 1 for n in ids}, xx=True)


def expire(plain: redis.Redis, *ids: int) -> None:
    """The life of these messages is over."""
    for number in ids:
        plain.hset(KEYS.of(names.MESSAGE, id=uuid(number)), "expires", "1")


def log_of(plain: redis.Redis) -> list[dict[str, str]]:
    return [fields for _, fields in plain.xrange(KEYS.of(names.LOG))]


def events(plain: redis.Redis) -> list[str]:
    return [one["event"] for one in log_of(plain) if one["kind"] == "message"]


def test_messages_come_in_the_order_in_which_they_were_sent(
    server_url: str, plain: redis.Redis
) -> None:
    async def work(mailbox: Mailbox) -> None:
        for number in (3, 1, 2):
            await mailbox.send(message(number))
        assert bodies(await take(mailbox, limit=2)) == ["number 3", "number 1"]
        assert bodies(await take(mailbox)) == ["number 2"]
        assert bodies(await take(mailbox)) == []

    run(server_url, work)


def test_a_reader_learns_all_that_was_said_and_when_by_the_servers_clock(
    server_url: str, plain: redis.Redis
) -> None:
    said = message(
        1,
        {"text": "ready?", "files": ["a.py"]},
        action_type="question",
        reply_to=uuid(9),
        correlation_id="launch",
        life=timedelta(hours=1),
    )

    async def work(mailbox: Mailbox) -> None:
        before = _now_ms(plain)
        told = await mailbox.send(said)
        after = _now_ms(plain)
        assert told == Sent(True, 1, told.entry, ("ada",), 0)
        (one,) = (await take(mailbox)).deliveries
        assert (one.message, one.sequence, one.number) == (said, 1, 1)
        assert before <= one.sent_ms <= after
        assert one.expires_ms - one.sent_ms == 3_600_000

    run(server_url, work)


def _now_ms(plain: redis.Redis) -> int:
    seconds, microseconds = plain.time()
    return int(seconds) * 1_000 + int(microseconds) // 1_000


def test_what_is_not_acknowledged_in_time_comes_again_at_its_place_and_says_so(
    server_url: str, plain: redis.Redis
) -> None:
    async def work(mailbox: Mailbox) -> None:
        for number in (1, 2, 3):
            await mailbox.send(message(number))
        await take(mailbox, limit=2)
        redeliver(plain, 1, 2)
        again = await take(mailbox)
        assert bodies(again) == ["number 1", "number 2", "number 3"]
        assert numbers(again) == [2, 2, 1]
        assert bodies(await take(mailbox)) == []

    run(server_url, work)


def test_however_many_were_not_acknowledged_all_come_again(
    server_url: str, plain: redis.Redis
) -> None:
    async def work(mailbox: Mailbox) -> None:
        for number in range(1_100):
            await mailbox.send(message(number))
        while (await take(mailbox, limit=MOST_AT_ONCE)).deliveries:
            pass
        redeliver(plain, *range(1_100))
        again: list[str] = []
        while taken := (await take(mailbox, limit=MOST_AT_ONCE)).deliveries:
            again += [one.message.message_id for one in taken]
            assert {one.number for one in taken} == {2}
        assert again == [uuid(number) for number in range(1_100)]

    run(server_url, work)


def test_a_reader_learns_when_something_is_delivered_again(
    server_url: str, plain: redis.Redis
) -> None:
    async def work(mailbox: Mailbox) -> None:
        assert (await take(mailbox)).next_redelivery is None
        await mailbox.send(message(1))
        await take(mailbox)
        nothing = await take(mailbox)
        assert nothing.next_redelivery is not None
        assert timedelta(seconds=50) < nothing.next_redelivery <= MINUTE

    run(server_url, work)


def test_two_readers_of_one_agent_share_its_messages_and_lose_none(
    server_url: str, plain: redis.Redis
) -> None:
    seen: list[str] = []

    async def read(mailbox: Mailbox) -> int:
        count = 0
        while taken := (await take(mailbox, limit=3)).deliveries:
            ids = [one.message.message_id for one in taken]
            seen.extend(ids)
            count += (await mailbox.acknowledge("ada", ids)).count
        return count

    async def work(mailbox: Mailbox) -> None:
        for number in range(100):
            await mailbox.send(message(number))
        async with asyncio.TaskGroup() as group:
            readers = [group.create_task(read(mailbox)) for _ in range(2)]
        assert sorted(seen) == [uuid(n) for n in range(100)]
        assert all(reader.result() for reader in readers)
        assert sum(reader.result() for reader in readers) == 100
        assert await mailbox.held("ada") == []

    run(server_url, work)


def test_acknowledging_twice_is_once(server_url: str, plain: redis.Redis) -> None:
    async def work(mailbox: Mailbox) -> None:
        await mailbox.send(message(1))
        await mailbox.send(message(2))
        await take(mailbox)
        first = await mailbox.acknowledge("ada", [uuid(1), uuid(1)])
        again = await mailbox.acknowledge("ada", [uuid(1)])
        assert (first.count, again.count) == (1, 0)
        assert again.entry == first.entry, "durable when the first is"
        redeliver(plain, 1, 2)
        assert bodies(await take(mailbox)) == ["number 2"]
        assert events(plain) == ["sent", "sent", "acknowledged"]

    run(server_url, work)


def test_a_late_acknowledgement_still_ends_the_redelivery(
    server_url: str, plain: redis.Redis
) -> None:
    async def work(mailbox: Mailbox) -> None:
        await mailbox.send(message(1))
        await mailbox.send(message(2))
        await take(mailbox)
        redeliver(plain, 1, 2)
        # Back in the inbox, while its first reader is done after all.
        assert bodies(await take(mailbox, limit=1)) == ["number 1"]
        assert (await mailbox.acknowledge("ada", [uuid(2)])).count == 1
        assert bodies(await take(mailbox)) == []

    run(server_url, work)


def test_nobody_acknowledges_for_another(server_url: str, plain: redis.Redis) -> None:
    async def work(mailbox: Mailbox) -> None:
        await mailbox.send(message(1))
        assert (await mailbox.acknowledge("eve", [uuid(1)])).count == 0
        assert bodies(await take(mailbox)) == ["number 1"]

    run(server_url, work)


def test_a_topic_reaches_those_who_follow_it_when_it_is_sent(
    server_url: str, plain: redis.Redis
) -> None:
    async def work(mailbox: Mailbox) -> None:
        nobody = await mailbox.send(message(1, to=None, topic="launch"))
        assert nobody.recipients == ()
        assert (await mailbox.follow("ada", "launch")).count == 1
        assert (await mailbox.follow("ada", "launch")).count == 0
        await mailbox.follow("bob", "launch")
        told = await mailbox.send(message(2, to=None, topic="launch"))
        assert told.recipients == ("ada", "bob")
        await mailbox.follow("cy", "launch")
        await mailbox.unfollow("bob", "launch")
        await mailbox.send(message(3, to=None, topic="launch"))
        assert bodies(await take(mailbox, "ada")) == ["number 2", "number 3"]
        assert bodies(await take(mailbox, "bob")) == ["number 2"], "sent while it followed"
        assert bodies(await take(mailbox, "cy")) == ["number 3"], "nothing from before"
        assert (await mailbox.unfollow("bob", "launch")).count == 0

    run(server_url, work)


def test_each_recipient_is_done_alone_and_the_text_goes_with_the_last(
    server_url: str, plain: redis.Redis
) -> None:
    async def work(mailbox: Mailbox) -> None:
        for agent in ("ada", "bob"):
            await mailbox.follow(agent, "launch")
        await mailbox.send(message(1, to=None, topic="launch"))
        await mailbox.acknowledge("ada", [uuid(1)])
        assert bodies(await take(mailbox, "ada")) == []
        assert bodies(await take(mailbox, "bob")) == ["number 1"]
        await mailbox.acknowledge("bob", [uuid(1)])
        key = KEYS.of(names.MESSAGE, id=uuid(1))
        assert plain.hget(key, "body") == ""
        assert 0 < plain.ttl(key) <= 3_600

    run(server_url, work)


def test_a_known_id_changes_nothing_before_and_after_it_was_acknowledged(
    server_url: str, plain: redis.Redis
) -> None:
    async def work(mailbox: Mailbox) -> None:
        first = await mailbox.send(message(1))
        again = await mailbox.send(message(1, "something else", to="bob"))
        assert again == Sent(False, first.sequence, first.entry, (), 0)
        await take(mailbox)
        await mailbox.acknowledge("ada", [uuid(1)])
        assert not (await mailbox.send(message(1))).is_new
        assert bodies(await take(mailbox)) == bodies(await take(mailbox, "bob")) == []
        assert events(plain) == ["sent", "acknowledged"]

    run(server_url, work)


def test_what_expires_is_dropped_audited_and_lets_the_rest_through(
    server_url: str, plain: redis.Redis
) -> None:
    async def work(mailbox: Mailbox) -> None:
        for number in range(1, 6):
            await mailbox.send(message(number))
        await take(mailbox, limit=1)
        expire(plain, 1, 2, 4)
        redeliver(plain, 1)
        taken = await take(mailbox, limit=2)
        assert bodies(taken) == ["number 3", "number 5"]
        dropped = [one for one in log_of(plain) if one.get("event") == "expired"]
        assert [(one["agent"], one["ids"]) for one in dropped] == [
            ("ada", f"{uuid(1)} {uuid(2)} {uuid(4)}")
        ]
        audited = [one for one in log_of(plain) if one["kind"] == "audit"]
        assert {(one["action"], one["actor"]) for one in audited} == {("message-expired", "ada")}
        assert [one["subject"] for one in audited] == [uuid(1), uuid(2), uuid(4)]
        assert sorted(await mailbox.held("ada")) == [uuid(3), uuid(5)]

    run(server_url, work)


def test_many_that_expired_are_dropped_in_parts_and_hide_nothing(
    server_url: str, plain: redis.Redis
) -> None:
    async def work(mailbox: Mailbox) -> None:
        for number in range(151):
            await mailbox.send(message(number))
        expire(plain, *range(150))
        before = len(log_of(plain))
        assert bodies(await take(mailbox, limit=1)) == ["number 150"]
        assert len(log_of(plain)) - before == 101, "one for all, one of each for the audit"
        assert len(await mailbox.held("ada")) == 51
        assert bodies(await take(mailbox)) == []
        assert await mailbox.held("ada") == [uuid(150)]

    run(server_url, work)


def test_the_sweep_drops_what_is_over_also_where_nobody_reads(
    server_url: str, plain: redis.Redis
) -> None:
    async def work(mailbox: Mailbox) -> None:
        for number in (1, 2, 3):
            await mailbox.send(message(number))
        await take(mailbox, limit=1)
        expire(plain, 1, 2)
        # Also one of which the bus knows nothing: the store would keep it open for ever.
        assert await mailbox.expire("ada", [uuid(n) for n in (1, 2, 3, 4)]) == 3
        assert await mailbox.held("ada") == [uuid(3)]
        (dropped,) = [one for one in log_of(plain) if one.get("event") == "expired"]
        assert dropped["ids"].split() == [uuid(1), uuid(2), uuid(4)]

    run(server_url, work)


def test_a_full_inbox_refuses_by_name_and_nobody_gets_the_message(
    server_url: str, plain: redis.Redis
) -> None:
    async def work(mailbox: Mailbox) -> None:
        await mailbox.follow("ada", "launch")
        await mailbox.follow("bob", "launch")
        waiting = {uuid(n): n for n in range(1, INBOX_LIMIT)}
        plain.zadd(KEYS.of(names.INBOX, agent="bob"), waiting)
        last = message(INBOX_LIMIT, to="bob")
        await mailbox.send(last)
        before = events(plain)
        for one in (message(1, to="bob"), message(1, to=None, topic="launch")):
            with pytest.raises(Refused, match="inbox of bob is full") as refused:
                await mailbox.send(one)
            assert refused.value.facts["outcome"] == "full"
            assert refused.value.facts["agent"] == "bob"
        assert events(plain) == before
        assert bodies(await take(mailbox, "ada")) == []
        assert not plain.exists(KEYS.of(names.MESSAGE, id=uuid(1)))

    run(server_url, work)


def test_what_is_taken_and_not_acknowledged_counts_as_waiting(
    server_url: str, plain: redis.Redis
) -> None:
    async def work(mailbox: Mailbox) -> None:
        waiting = {uuid(n): 9e15 for n in range(1, INBOX_LIMIT + 1)}
        plain.zadd(KEYS.of(names.UNACKED, agent="ada"), waiting)
        with pytest.raises(Refused, match="full"):
            await mailbox.send(message(1))

    run(server_url, work)


def test_a_topic_takes_a_thousand_followers(server_url: str, plain: redis.Redis) -> None:
    async def work(mailbox: Mailbox) -> None:
        plain.sadd(KEYS.of(names.TOPIC, topic="launch"), *(f"agent-{n}" for n in range(1_000)))
        with pytest.raises(Refused, match="launch"):
            await mailbox.follow("ada", "launch")
        told = await mailbox.send(message(1, to=None, topic="launch"))
        assert len(told.recipients) == 1_000
        assert bodies(await take(mailbox, "agent-999")) == ["number 1"]

    run(server_url, work)


def test_credentials_are_masked_before_anything_is_written(
    server_url: str, plain: redis.Redis
) -> None:
    async def work(mailbox: Mailbox) -> None:
        heard = plain.pubsub()
        heard.subscribe(KEYS.of(names.CHANNEL_MESSAGES))
        body = {"note": f"use {SECRET}", "password": "tulip", "n": [SECRET]}
        told = await mailbox.send(message(1, body, correlation_id=SECRET))
        assert told.masked == 4
        (one,) = (await take(mailbox)).deliveries
        assert isinstance(one.message.body, dict)
        assert one.message.body["password"] == "[masked:password]"
        written = [
            json.dumps(log_of(plain)),
            json.dumps(plain.hgetall(KEYS.of(names.MESSAGE, id=uuid(1)))),
            repr([heard.get_message(timeout=5) for _ in range(2)]),
        ]
        heard.close()
        assert not any("Ab1cAb1c" in text or "tulip" in text for text in written)
        with pytest.raises(Invalid, match="credential"):
            await mailbox.send(message(2, to=SECRET))

    run(server_url, work)


def test_a_send_wakes_whom_it_is_for(server_url: str, plain: redis.Redis) -> None:
    async def work(mailbox: Mailbox) -> None:
        heard = plain.pubsub(ignore_subscribe_messages=True)
        heard.subscribe(KEYS.of(names.CHANNEL_MESSAGES))
        heard.get_message(timeout=5)

        def next_hint() -> Any:
            told = heard.get_message(timeout=5)
            assert told is not None
            return json.loads(told["data"])

        await mailbox.send(message(1))
        assert next_hint() == {"message_id": uuid(1), "to": "ada"}
        await mailbox.follow("ada", "launch")
        await mailbox.follow("bob", "launch")
        await mailbox.send(message(2, to=None, topic="launch"))
        assert next_hint() == {
            "message_id": uuid(2),
            "topic": "launch",
            "recipients": ["ada", "bob"],
        }
        heard.close()

    run(server_url, work)


@pytest.mark.parametrize(
    ("state", "outcome"), [({"limit": "2"}, "busy"), ({"refusing": "disk full"}, "refusing")]
)
def test_when_the_log_takes_nothing_nothing_is_changed_and_reading_goes_on(
    server_url: str, plain: redis.Redis, state: dict[str, str], outcome: str
) -> None:
    async def work(mailbox: Mailbox) -> None:
        await mailbox.send(message(1))
        await mailbox.send(message(2))
        plain.hset(KEYS.of(names.LOG_STATE), mapping=state)
        expire(plain, 1)
        for step in (
            lambda: mailbox.send(message(3)),
            lambda: mailbox.acknowledge("ada", [uuid(1)]),
            lambda: mailbox.follow("ada", "launch"),
            lambda: mailbox.expire("ada", [uuid(1)]),
        ):
            with pytest.raises(Unavailable) as refused:
                await step()
            assert refused.value.facts["outcome"] == outcome
        assert bodies(await take(mailbox, limit=1)) == ["number 2"], "the expired one is passed"
        assert events(plain) == ["sent", "sent"]
        plain.hset(KEYS.of(names.LOG_STATE), mapping={"limit": "10000", "refusing": ""})
        assert bodies(await take(mailbox)) == []
        assert events(plain) == ["sent", "sent", "expired"]

    run(server_url, work)


def test_one_answer_is_bounded_and_the_next_goes_on(server_url: str, plain: redis.Redis) -> None:
    async def work(mailbox: Mailbox) -> None:
        for number in range(30):
            await mailbox.send(message(number, "x" * 60_000))
        found = []
        while taken := (await take(mailbox, limit=MOST_AT_ONCE)).deliveries:
            assert len(taken) < 20
            found += [one.message.message_id for one in taken]
        assert found == [uuid(n) for n in range(30)]

    run(server_url, work)


def test_a_message_that_cannot_be_read_hides_no_other(server_url: str, plain: redis.Redis) -> None:
    async def work(mailbox: Mailbox) -> None:
        for number in (1, 2, 3):
            await mailbox.send(message(number))
        plain.hset(KEYS.of(names.MESSAGE, id=uuid(1)), "body", "no message")
        plain.delete(KEYS.of(names.MESSAGE, id=uuid(2)))
        taken = await take(mailbox)
        assert (bodies(taken), taken.unreadable) == (["number 3"], (uuid(1),))

    run(server_url, work)


@pytest.mark.parametrize(
    ("agent", "limit", "visibility"),
    [
        ("a b", 1, MINUTE),
        ("ada", 0, MINUTE),
        ("ada", MOST_AT_ONCE + 1, MINUTE),
        ("ada", 1, timedelta(0)),
        ("ada", 1, timedelta(days=1)),
    ],
)
def test_what_a_reader_may_ask_for(
    server_url: str, plain: redis.Redis, agent: str, limit: int, visibility: timedelta
) -> None:
    async def work(mailbox: Mailbox) -> None:
        with pytest.raises(Invalid):
            await mailbox.receive(agent, limit=limit, visibility=visibility)

    run(server_url, work)


def test_a_body_that_has_no_bottom_is_refused(server_url: str, plain: redis.Redis) -> None:
    bottomless: dict[str, Any] = {}
    for _ in range(5_000):
        bottomless = {"in": bottomless}

    async def work(mailbox: Mailbox) -> None:
        with pytest.raises(Invalid, match="flatter"):
            await mailbox.send(message(1, bottomless))

    run(server_url, work)


def test_spaces_do_not_read_each_others_messages(server_url: str, plain: redis.Redis) -> None:
    run(server_url, lambda mailbox: _sent(mailbox, message(1)), Keys("acme"))

    async def work(mailbox: Mailbox) -> None:
        assert bodies(await take(mailbox)) == []

    run(server_url, work)
    held = [key for key in plain.scan_iter() if "message" in key or "inbox" in key]
    assert {key.partition(":")[0] for key in held} == {"acme"}


async def _sent(mailbox: Mailbox, one: Message) -> None:
    await mailbox.send(one)


def test_what_the_store_has_is_put_back_on_an_empty_server(
    server_url: str, plain: redis.Redis
) -> None:
    kept = [
        OpenMessage(
            message_id=uuid(number),
            sequence=number,
            sent_ms=_now_ms(plain),
            expires_ms=_now_ms(plain) + 60_000,
            body=_json(message(number)),
            recipients=recipients,
        )
        for number, recipients in ((4, ("ada", "bob")), (7, ("ada",)))
    ]

    async def work(mailbox: Mailbox) -> None:
        for _ in range(2):
            await mailbox.restore(kept, [TopicFollowers("launch", ("ada",))], last=50)
        assert bodies(await take(mailbox)) == ["number 4", "number 7"]
        assert bodies(await take(mailbox, "bob")) == ["number 4"]
        told = await mailbox.send(message(8, to=None, topic="launch"))
        assert (told.sequence, told.recipients) == (51, ("ada",))
        await mailbox.acknowledge("ada", [uuid(4)])
        redeliver(plain, 4, agent="bob")
        assert bodies(await take(mailbox, "bob")) == ["number 4"], "one is not done for all"
        assert events(plain) == ["sent", "acknowledged"], "what is put back is not said again"

    run(server_url, work)


def _json(one: Message) -> bytes:
    return msgspec.json.encode(
        {"message_id": one.message_id, "sender": one.sender, "to": one.to, "body": one.body}
    )


def test_what_is_put_back_stays_although_the_bus_had_thought_it_done(
    server_url: str, plain: redis.Redis
) -> None:
    async def work(mailbox: Mailbox) -> None:
        await mailbox.send(message(1))
        await mailbox.acknowledge("ada", [uuid(1)])
        later = _now_ms(plain) + 60_000
        kept = OpenMessage(
            message_id=uuid(1),
            sequence=1,
            sent_ms=1,
            expires_ms=later,
            body=_json(message(1)),
            recipients=("ada",),
        )
        await mailbox.restore([kept], [], last=1)
        assert plain.ttl(KEYS.of(names.MESSAGE, id=uuid(1))) == -1
        assert bodies(await take(mailbox)) == ["number 1"]

    run(server_url, work)


def test_putting_back_leaves_leases_and_newer_messages_and_ends_what_is_done(
    server_url: str, plain: redis.Redis
) -> None:
    async def work(mailbox: Mailbox) -> None:
        for number in (1, 2, 3):
            await mailbox.send(message(number))
        await take(mailbox, limit=1)
        await mailbox.follow("bob", "launch")
        await mailbox.follow("ada", "launch")
        kept = OpenMessage(
            message_id=uuid(1),
            sequence=1,
            sent_ms=_now_ms(plain),
            expires_ms=_now_ms(plain) + 60_000,
            body=_json(message(1)),
            recipients=("ada",),
        )
        topics = [TopicFollowers("launch", (), ("bob",))]
        await mailbox.restore([kept], topics, last=2, done={"ada": [uuid(2)]})
        assert bodies(await take(mailbox)) == ["number 3"], "1 is taken, 2 is done, 3 is newer"
        redeliver(plain, 1)
        assert numbers(await take(mailbox)) == [2]
        told = await mailbox.send(message(4, to=None, topic="launch"))
        assert told.recipients == ("ada",)

    run(server_url, work)
