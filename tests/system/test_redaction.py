"""Scenario 29: credentials go in by every way there is, and are found nowhere afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
import json
import sqlite3
import zipfile
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis

from ifmem import Worker
from ifmem.client import launch
from ifmem.client.connection import Connection
from ifmem.errors import IfMemError
from ifmem.settings import RedisSettings, Settings
from ifmem.wire import agent_calls, calls, message_calls

PATIENCE_S = 120
INNOCENT = [
    "the secret ingredient is love",
    "a token of our gratitude, and the key to the garden",
    "the password reset flow asks for at least 12 characters",
]


def core(kind: str, size: int = 40) -> str:
    """Letters and digits that open nothing, others for each kind: what is looked for afterwards."""
    digits = hashlib.sha256(kind.encode()).hexdigest()
    return "".join(a + b.upper() for a, b in zip(digits[::2], "qwertzuiop" * 4, strict=False))[
        :size
    ]


def hexadecimal(kind: str, size: int) -> str:
    return (hashlib.sha256(kind.encode()).hexdigest() * 2)[:size]


KINDS: dict[str, tuple[str, str]] = {
    # What is said, and the part of it that must not be readable.
    kind: (text.replace("%s", secret), secret)
    for kind, text, secret in [
        ("anthropic", "sk" + "-ant-api03-%s", core("anthropic")),
        ("openai", "sk" + "-proj-%s", core("openai")),
        ("google", "AI" + "za%s", core("google", 35)),
        ("github", "gh" + "p_%s", core("github", 36)),
        ("github-fine", "github" + "_pat_11ABCDE_%s", core("github-fine")),
        ("gitlab", "gl" + "pat-%s", core("gitlab", 20)),
        ("aws", "AK" + "IA%s", core("aws").upper()[:16]),
        ("slack", "xo" + "xb-123456789012-%s", core("slack", 24)),
        ("stripe", "sk" + "_live_%s", core("stripe", 24)),
        ("huggingface", "hf" + "_%s", core("huggingface", 34)),
        ("jwt", "ey" + "JhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.%s", core("jwt")),
        ("sendgrid", "S" + "G." + core("sg", 22) + ".%s", core("sendgrid")),
        ("digitalocean", "do" + "p_v1_%s", hexadecimal("digitalocean", 64)),
        ("ifmem", "if" + "m_%s", core("ifmem", 40) + "abc"),
        ("url", "postgres://bob:%s" + "@db.example.test/shop", core("url", 18)),
        ("header", "Authorization: Bearer %s", core("header", 30)),
        ("assigned", "DB_PASSWORD=%s", core("assigned", 14)),
        ("quoted", '"client_secret": "%s"', core("quoted", 30)),
        (
            "private-key",
            "-----BEGIN RSA PRIVATE" + " KEY-----\n%s\n-----END RSA PRIVATE" + " KEY-----",
            core("private-key", 39) + core("more", 25),
        ),
    ]
}
SAID = [text for text, _ in KINDS.values()]
SECRETS = {
    **{kind: secret for kind, (_, secret) in KINDS.items()},
    "by-its-key": core("by-its-key", 9),
    "a-number": "7316054829",
}


def everything(way: str) -> str:
    """A text with every kind in it."""
    return "\n".join([f"Seen on the way of {way}:", *SAID, *INNOCENT])


def nested(way: str) -> dict[str, Any]:
    """A structure with them as values, in lists, as keys, and under keys that say so."""
    return {
        "way": way,
        "password": SECRETS["by-its-key"],
        "pin": {"secret_key": int(SECRETS["a-number"])},
        "deep": [{"er": [SAID, {"still": {text: text for text in SAID}}]}],
        "innocent": INNOCENT,
        "no": [None, True, 1.5],
    }


TAKEN = {
    *("load", "load_text", "load_rows", "remember", "ask", "query", "recall", "capture"),
    *("task_post", "task_claim", "task_release", "task_finish", "task_cancel", "send", "refusal"),
}
"""Ways that are not refused altogether."""


class Ways:
    """Every way in. A way may be refused; what it was given must not stay for that either."""

    def __init__(self, connection: Connection, directory: Path, bus: Any, url: str) -> None:
        self._connection = connection
        self._directory = directory
        self._bus = bus
        self._url = url
        self.refused: list[str] = []
        self.taken: Counter[str] = Counter()

    async def call(self, method: str, params: Any, space: str = "default") -> Any:
        try:
            answer = await self._connection.call(method, params, returns=Any, space=space)
            self.taken[method] += 1
            return answer
        except IfMemError as error:
            self.refused.append(f"{method}: {error.message}")
            return None

    async def each(self, make: Callable[[str], Any], method: str) -> None:
        """A call for each kind, as names hold one at a time."""
        for text in SAID:
            await self.call(method, make(text))

    async def documents(self) -> None:
        folder = self._directory / "docs"
        folder.mkdir()
        (folder / "notes.md").write_text(everything("a file"))
        (folder / "data.json").write_text(json.dumps({**nested("a file of JSON"), "pin": None}))
        (folder / "code.py").write_text("\n".join(f"X = {text!r}" for text in SAID))
        (folder / "chat.jsonl").write_text(
            "\n".join(json.dumps({"role": "user", "content": text}) for text in SAID)
        )
        for number, text in enumerate(SAID):
            with contextlib.suppress(OSError):
                (folder / f"{text} {number}.txt").write_text("The name of this file is odd.")
        await self.call("load", calls.LoadCall(paths=(str(folder),)))
        await self.each(lambda text: calls.LoadCall(paths=(f"{folder}/{text}",)), "load")
        await self.call("load_text", calls.LoadTextCall(everything("a text"), "chat:1"))
        await self.each(
            lambda text: calls.LoadTextCall(f"{text} was its name.", f"chat:{text}", text),
            "load_text",
        )
        rows = tuple(
            calls.Row(text, f"{text} says", text, text, text, text) for text in [*SAID, *INNOCENT]
        )
        await self.call("load_rows", calls.LoadRowsCall("chat:rows", rows, "g"))
        await self.each(
            lambda text: calls.LoadRowsCall(f"chat:{text}", (calls.Row("1", "odd"),), text),
            "load_rows",
        )

    async def findings(self) -> None:
        def said(**fields: Any) -> calls.RememberCall:
            return calls.RememberCall({"claim": "It was seen.", **fields})

        await self.call("remember", said(claim=everything("a claim")))
        await self.call("remember", said(unknown=nested("unknown fields")))
        await self.call("remember", said(password=SECRETS["by-its-key"], tags=SAID))
        await self.call("remember", calls.RememberCall({"claim": SAID[0]}, trust="quarantined"))
        for text in SAID:
            cited = [
                {"source": "https://example.test", "quote": text, "note": text, "locator": text},
                f"https://example.test/{text}",
            ]
            await self.call("remember", said(topic=text, unit=text, citations=cited))
            await self.call("remember", said(worker_id=text, session_id=text, source_model=text))
            await self.call("remember", said(finding_id=text))
            await self.call("remember", said(confidence=text))
            await self.call("remember", said(citations=[{"source": f"/nowhere/{text}"}]))
            await self.call("remember", said(citations=[{"source": "chat:1", "quote": text}]))
        await self.call("remember", said(claim=SAID[0] * 2_000))

    async def tasks(self) -> None:
        post = calls.TaskPostCall
        task = await self.call("task_post", post("look", data=nested("a task")))
        await self.each(lambda text: post(text, data={"note": text}), "task_post")
        await self.each(lambda text: post("odd", run=text), "task_post")
        await self.each(lambda text: post("odd", posted_by=text), "task_post")
        await self.each(lambda text: post("odd", idempotency_key=text), "task_post")
        await self.each(lambda text: post("odd", id=text, depends_on=(text,)), "task_post")
        await self.each(lambda text: calls.TaskClaimCall(text), "task_claim")
        for text in [everything("a reason")[:4_000], *SAID]:
            (held,) = (await self.call("task_claim", calls.TaskClaimCall("ada")))["items"]
            await self.call(
                "task_release",
                calls.TaskReleaseCall(held["task_id"], "ada", held["fence"], reason=text),
            )
            (held,) = (await self.call("task_claim", calls.TaskClaimCall("ada")))["items"]
            name, fence = held["task_id"], held["fence"]
            finish = calls.TaskFinishCall
            await self.call("task_finish", finish(name, text, fence, claim="not mine"))
            await self.call("task_finish", finish(name, "ada", text, claim="not so"))
            await self.call(
                "task_finish",
                finish(name, "ada", fence, claim=text, fields={"topic": text, "x": [text]})
                if text in SAID[::2]
                else finish(name, "ada", fence, "failed", reason=text, final=True),
            )
            await self.call("task_cancel", calls.TaskCancelCall(name, text, text))
            other = await self.call("task_post", post("to be cancelled"))
            await self.call("task_cancel", calls.TaskCancelCall(other["task_id"], "ada", text))
        assert task is not None

    async def messages(self) -> None:
        send = message_calls.SendCall
        await self.call("send", send(everything("a message"), to="ada"))
        await self.call("send", send(nested("a message"), to="ada"))
        for text in SAID:
            await self.call(
                "send",
                send(text, to="ada", action_type=text[:64], correlation_id=text[:200]),
            )
            await self.call("send", send("odd", to=text))
            await self.call("send", send("odd", topic=text))
            await self.call("send", send("odd", to="ada", sender=text))
            await self.call("follow_topic", message_calls.FollowTopicCall(text, text))
            await self.call("acknowledge", calls.AcknowledgeCall(text, "0"))

    async def questions(self) -> None:
        for text in [everything("a question"), *SAID]:
            await self.call("ask", calls.AskCall(text, model="extractive"))
            await self.call("query", calls.QueryCall(text, deadline_seconds=0.5))
            await self.call("recall", calls.RecallCall(text))
            await self.call("forget", calls.ForgetCall(text))
        await self.call(SAID[0], None)
        await self.call("recall", calls.RecallCall("x"), space=SAID[0])

    async def tokens(self) -> None:
        await self.each(lambda text: agent_calls.TokenCreateCall(text), "token_create")
        await self.each(
            lambda text: agent_calls.TokenCreateCall("ada", roots=(f"/{text}",)), "token_create"
        )
        await self.each(lambda text: agent_calls.RefusalCall(text, text, text, text), "refusal")

    async def captures(self) -> None:
        project = self._directory / "docs"
        for tool, given in (
            ("Read", {"file_path": str(project / "notes.md")}),
            ("Grep", {"pattern": everything("a search")}),
            ("Bash", {"command": f"pytest -k '{SAID[0]}'"}),
            ("Bash", {"command": "git log"}),
        ):
            event = {
                "hook_event_name": "PostToolUse",
                "session_id": "s",
                "cwd": str(project),
                "tool_name": tool,
                "tool_input": given,
                "tool_response": everything(tool),
            }
            call = agent_calls.CaptureCall("claude", event, str(project), wait=True)
            await self.call("capture", call)

    async def bus(self) -> None:
        settings = Settings(redis=RedisSettings(url=self._url))
        async with Worker.join(settings=settings) as worker:
            await worker.remember(everything("a worker"), tags=SAID, unknown=nested("a worker"))
            await worker.post("look again", data=nested("a worker's task"))
            for text in SAID:
                with contextlib.suppress(IfMemError):
                    await worker.remember("odd", topic=text, id=text)
        self._write_directly()

    def _write_directly(self) -> None:
        """As whoever has the bus's credentials writes, well or badly."""
        claims = [everything("a direct write"), *SAID]
        for number, text in enumerate(claims):
            name = f"00000000-0000-4000-8000-{number:012x}"
            body = {"claim": text, "extra": nested("a direct write"), "topic": text}
            self._bus.set(f"finding:{name}", json.dumps(body))
            self._bus.publish("channel:findings", name)
            self._bus.publish("channel:findings", f"no JSON {text}")
            self._bus.publish("channel:findings", json.dumps({"finding_id": text, "say": text}))
            self._bus.publish("channel:queries", f"no JSON {text}")
            self._bus.publish("channel:queries", json.dumps({"query": text, "tracking_id": "q"}))


@pytest.fixture
def told(ifmem: Any, eventually: Any) -> Iterator[tuple[Any, Any, Ways]]:
    """An installation to which everything was told."""
    ifmem("up")
    settings = Settings(home=str(ifmem.home))
    url = ifmem.status()["redis"]["url"]
    with redis.Redis.from_url(url) as bus:

        async def tell() -> Ways:
            connection = await launch.connect(settings)
            ways = Ways(connection, ifmem.directory, bus, url)
            every: list[Callable[[], Awaitable[None]]] = [
                ways.documents,
                ways.findings,
                ways.tasks,
                ways.messages,
                ways.questions,
                ways.tokens,
                ways.captures,
                ways.bus,
            ]
            try:
                async with asyncio.timeout(PATIENCE_S):
                    for way in every:
                        await way()
            finally:
                await connection.close()
            return ways

        ways = asyncio.run(tell())
        last = f"finding:00000000-0000-4000-8000-{len(SAID):012x}"
        eventually(lambda: b"masked" in (bus.get(last) or b""))
        eventually(lambda: bus.xlen("ifmem:1:log") == 0)
        # What others wrote past our functions leaves the server's file when it is written anew.
        written = ifmem.home / "bus" / "data" / "appendonlydir"
        eventually(lambda: not any(any_in(one) for one in written.iterdir()))
        yield ifmem, bus, ways


def values(bus: Any) -> Iterator[tuple[str, bytes]]:
    """Every key of the bus and its value."""
    for name in bus.scan_iter(count=1_000):
        value: Any
        match bus.type(name):
            case b"string":
                yield name.decode(), name + b" " + bus.get(name)
                continue
            case b"hash":
                value = bus.hgetall(name)
            case b"list":
                value = bus.lrange(name, 0, -1)
            case b"set":
                value = bus.smembers(name)
            case b"zset":
                value = bus.zrange(name, 0, -1)
            case b"stream":
                value = bus.xrange(name)
        yield name.decode(), f"{name} {value!r}".encode()


def files(home: Path) -> Iterator[tuple[str, bytes]]:
    """Every file of the home, packed ones unpacked."""
    for path in sorted(home.rglob("*")):
        if not path.is_file():
            continue
        data = path.read_bytes()
        yield str(path.relative_to(home)), data
        if zipfile.is_zipfile(io.BytesIO(data)):
            with zipfile.ZipFile(io.BytesIO(data)) as packed:
                for name in packed.namelist():
                    yield f"{path.name}:{name}", packed.read(name)


def rows(home: Path) -> Iterator[tuple[str, str]]:
    """Every value of every database, as a reader of it gets it."""
    for path in sorted(home.rglob("*")):
        if not path.is_file() or path.read_bytes()[:15] != b"SQLite format 3":
            continue
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as store:
            tables = store.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            for (table,) in tables.fetchall():
                for number, row in enumerate(store.execute(f'SELECT * FROM "{table}"')):
                    yield f"{path.name}:{table}:{number}", repr(row)


def found_in(where: str, data: bytes) -> Iterator[str]:
    """Which secrets stand there, also in part, in other letters or as indexes have them."""
    folded = data.lower()
    for kind, secret in SECRETS.items():
        raw = secret.lower().encode()
        if raw in folded or raw[: max(9, len(raw) * 3 // 4)] in folded:
            at = folded.find(raw[:9])
            yield f"{kind} in {where}: …{data[max(0, at - 80) : at + 20]!r}"


def any_in(path: Path) -> bool:
    try:
        return any(found_in(path.name, path.read_bytes()))
    except FileNotFoundError:
        # Replaced while we looked.
        return True


def readable(home: Path, bus: Any) -> list[str]:
    """Every secret that can be read somewhere, with the place."""
    found = []
    for name, value in values(bus):
        found += found_in(f"key {name[:60]}", value)
    for name, data in files(home):
        found += found_in(f"file {name}", data)
    for name, text in rows(home):
        found += found_in(f"row {name}", text.encode())
    return found


def test_no_credential_is_readable_anywhere(told: tuple[Any, Any, Ways]) -> None:
    ifmem, bus, ways = told
    assert ways.refused, "some ways must be refused"
    assert set(ways.taken) >= TAKEN
    assert len(SECRETS) >= 15
    found = readable(ifmem.home, bus)
    assert not found, "\n".join(found)
    shown = b"".join(value for _, value in values(bus)).decode("utf-8", "replace")
    kept = "\n".join(text for _, text in rows(ifmem.home))
    for innocent in INNOCENT:
        assert innocent in shown and innocent in kept
    assert "[masked:" in shown and "[masked:" in kept
    for name in bus.scan_iter("finding:*"):
        body = bus.get(name)
        assert isinstance(json.loads(body), dict), name
        msgspec.json.decode(body)
    store = ifmem.home / "spaces" / "default" / "store.sqlite"
    with contextlib.closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as opened:
        for (body,) in opened.execute(
            "SELECT body FROM finding UNION SELECT body FROM quarantined"
        ):
            assert isinstance(json.loads(body), dict)
        actions = {action for (action,) in opened.execute("SELECT action FROM audit")}
    assert {"remember", "task_post", "send"} <= actions
    (waiting,) = ifmem("findings", "--quarantined", "--json").lines
    assert waiting["claim"] == "[masked:anthropic-key]"
    released = ifmem("release", waiting["finding_id"], "--json").json
    assert ifmem("findings", "--quarantined", "--json").lines == []
    (said,) = ifmem("findings", "--since", str(int(released["cursor"]) - 1), "--json").lines
    assert (said["supersedes"], said["trust"]) == (waiting["finding_id"], "agent")
    assert ifmem("findings", "--quarantined", "--follow", code=2).told()
    # What is written when it ends, and read when it starts, has none either.
    ifmem.down()
    assert [one for name, data in files(ifmem.home) for one in found_in(name, data)] == []


def test_a_secret_that_is_kept_would_be_found(tmp_path: Path) -> None:
    for kind, secret in SECRETS.items():
        assert any(one.startswith(kind) for one in found_in("x", f"…{secret}…".encode()))
    assert list(found_in("x", everything("a test").encode()))
