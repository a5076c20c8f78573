"""Whatever is said to the MCP server: each request is answered once, and nobody is disturbed."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import re
import select
import signal
import socket
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ifmem.client.reconnecting import ReconnectingCalls
from ifmem.mcp_server.tool_table import TOOLS
from ifmem.mcp_server.tools import schema_of_arguments, schema_of_results
from ifmem.sockets import MCP_SOCKET, socket_path
from ifmem.wire.agent_calls import TokenCreateCall, TokenShape

PATIENCE_S = 60.0
META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
}
MODERN, LEGACY, UNDECIDED = "modern", "legacy", "undecided"
OUTSIDE_TEXT = "zirconwhistle zirconwhistle zirconwhistle"
"""Stands in the file that no caller of these tests may read."""
OUTSIDE, DEEP, HUGE = "@outside@", "@deep@", "@huge@"
"""Texts; on the wire the path of that file, a deep list, and a number of 5,000 digits."""

A_FAILURE_OF_OURS = re.compile(
    r"ifmem itself failed|Internal (server )?error|Traceback|invalid result|"
    r"\b(Assertion|Attribute|Decode|Decoding|Encode|Encoding|Index|Key|Lookup|Name|Operational|OS|Overflow|"
    r"Programming|Recursion|Runtime|Type|UnicodeDecode|UnicodeEncode|Validation|Value)Error\b"
)
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "40"))
"""Of each test, or three times as many; named by hand, other ones in every run."""
FUZZED = settings(
    database=None,
    deadline=None,
    derandomize="FUZZ_EXAMPLES" not in os.environ,
    suppress_health_check=list(HealthCheck),
)
"""The same examples in every run: what fails is then the change's, and prints its example."""


# --- what is said -------------------------------------------------------------------------------

NASTY = [
    "",
    " ",
    "\0",
    "\ud800",
    "a\udfffb",
    "\u2028\u202e\ufeff",
    "नमस्ते 👩‍👩‍👧‍👦 e\u0301",
    ".",
    "..",
    "../outside/secret.txt",
    "link/secret.txt",
    "link",
    "notes.md/../link/secret.txt",
    "./notes.md",
    "notes.md",
    "notes.md:3",
    "notes.md:1-2",
    "notes.md:1-99999999999999999999",
    "notes.md:0",
    "~",
    "~root/secret.txt",
    OUTSIDE,
    f"{OUTSIDE}:1",
    f"file://{OUTSIDE}",
    "file:///%00",
    "file:///../../etc/passwd",
    "https://[::1",
    "http://example.org:999999/",
    "chat:1",
    "chat:",
    "finding:0b8e8f6e-0000-4000-8000-000000000001",
    "finding:..",
    "0b8e8f6e-0000-4000-8000-000000000001",
    "**/../*",
    "[",
    "0",
    "-1",
    "٣",
    "9" * 18,
    "9" * 30,
    "1e999",
    "NaN",
    "inf",
    "2026-01-01",
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59-14:00",
    "2026-02-30",
    "P1D",
    "project",
    "done",
    "x" * 300,
    "y" * 100_000,
    "a/" * 3_000,
    HUGE,
    DEEP,
]
URIS = [
    "memory://findings",
    "memory://findings?before=0",
    "memory://findings?before=" + "9" * 18,
    "memory://findings?before=" + "9" * 19,
    "memory://findings?before=٣",
    "memory://findings/0b8e8f6e-0000-4000-8000-000000000001",
    "memory://findings/..",
    "memory://shards/1",
    "memory://shards/999999",
    "memory://shards/01",
    "memory://shards/-1",
    "memory://context/active",
    "memory://context/active\n",
    "memory://context/active#x",
    "MEMORY://FINDINGS",
    "memory:///findings",
]
NUMBERS = [0, -1, 1, 2**31, 2**53 + 1, 2**63 - 1, 2**63, -(2**63) - 1, 2**64, 2**70, 10**400]
FLOATS = [0.5, -0.0, 1e308, 5e-324, float("nan"), float("inf"), float("-inf")]
METHODS = [
    "initialize",
    "ping",
    "server/discover",
    "tools/list",
    "tools/call",
    "resources/list",
    "resources/templates/list",
    "resources/read",
    "resources/subscribe",
    "resources/unsubscribe",
    "subscriptions/listen",
    "prompts/list",
    "prompts/get",
    "completion/complete",
    "logging/setLevel",
    "roots/list",
    "sampling/createMessage",
    "notifications/initialized",
    "notifications/cancelled",
    "notifications/progress",
    "notifications/roots/list_changed",
]
PARAMETERS = [
    "name",
    "arguments",
    "uri",
    "cursor",
    "ref",
    "argument",
    "context",
    "notifications",
    "requestId",
    "progressToken",
    "protocolVersion",
    "capabilities",
    "clientInfo",
    "level",
    "_meta",
]

texts = st.one_of(
    st.sampled_from(NASTY),
    st.sampled_from(URIS),
    st.text(st.characters(), max_size=20),
    st.text(st.characters(), max_size=200),
    st.sampled_from([*TOOLS, "brief", "handoff", "topic", "task", "id", "n", "max_tokens"]),
)
numbers = st.one_of(st.sampled_from(NUMBERS), st.integers(), st.integers(-3, 12))
floats = st.one_of(st.sampled_from(FLOATS), st.floats())
scalars = st.one_of(st.none(), st.booleans(), numbers, floats, texts)
anything = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(texts, inner, max_size=4)),
    max_leaves=8,
)
known_parameters = st.dictionaries(st.sampled_from(PARAMETERS), anything, max_size=5)
envelopes = st.fixed_dictionaries(
    {},
    optional={
        "jsonrpc": st.one_of(st.just("2.0"), st.just("2.0"), scalars),
        "id": st.one_of(numbers, texts, anything),
        "method": st.one_of(st.sampled_from(METHODS), texts, anything),
        "params": st.one_of(known_parameters, anything),
        "result": anything,
        "error": anything,
    },
)
messages = st.one_of(envelopes, envelopes, anything, st.lists(envelopes, max_size=3))


def of_schema(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """What a schema asks for, at times, and otherwise something else."""
    return st.one_of(_valid(schema), _valid(schema), _valid(schema), anything)


def _valid(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    if "anyOf" in schema:
        return st.one_of(*[_valid(one) for one in schema["anyOf"]])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    match schema.get("type"):
        case "string":
            return texts
        case "integer":
            least, most = schema.get("minimum", -5), schema.get("maximum", 10**6)
            return st.integers(least, most)
        case "number":
            return st.one_of(st.floats(0, schema.get("maximum", 1)), floats)
        case "boolean":
            return st.booleans()
        case "array":
            least = schema.get("minItems", 0)
            most = min(schema.get("maxItems", 4), 4)
            return st.lists(of_schema(schema.get("items", {})), min_size=least, max_size=most)
        case "object" if "properties" in schema:
            return _fields(schema)
        case "object":
            return st.dictionaries(texts, anything, max_size=4)
        case _:
            return anything


def _fields(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    fields = {name: of_schema(one) for name, one in schema["properties"].items()}
    needed = {name: fields.pop(name) for name in schema.get("required", ())}
    exact = st.fixed_dictionaries(needed, optional=fields)
    loose = st.fixed_dictionaries({}, optional={**needed, **fields})
    further = st.dictionaries(texts, anything, max_size=1)
    both = st.tuples(loose, further).map(lambda two: {**two[1], **two[0]})
    return st.one_of(exact, exact, exact, both)


arguments = {name: of_schema(schema_of_arguments(one.arguments)) for name, one in TOOLS.items()}
calls = st.sampled_from(list(TOOLS)).flatmap(
    lambda name: st.fixed_dictionaries({"name": st.just(name), "arguments": arguments[name]})
)
references = st.one_of(
    st.fixed_dictionaries({"type": st.just("ref/prompt"), "name": texts}),
    st.fixed_dictionaries({"type": st.just("ref/resource"), "uri": texts}),
    st.sampled_from(
        [
            {"type": "ref/prompt", "name": "brief"},
            {"type": "ref/prompt", "name": "handoff"},
            {"type": "ref/resource", "uri": "memory://findings/{id}"},
            {"type": "ref/resource", "uri": "memory://shards/{n}"},
        ]
    ),
    anything,
)
completions = st.fixed_dictionaries(
    {
        "ref": references,
        "argument": st.one_of(st.fixed_dictionaries({"name": texts, "value": texts}), anything),
    },
    optional={"context": anything},
)
filled_prompts = st.fixed_dictionaries(
    {"name": st.sampled_from(["brief", "handoff"])},
    optional={
        "arguments": st.one_of(
            st.dictionaries(st.sampled_from(["topic", "max_tokens", "task"]), texts),
            st.dictionaries(texts, anything, max_size=2),
        )
    },
)
addressed = st.fixed_dictionaries({"uri": st.one_of(st.sampled_from(URIS), texts, anything)})
cursors = st.fixed_dictionaries({}, optional={"cursor": st.one_of(texts, anything)})
requests = st.one_of(
    st.tuples(
        st.sampled_from(["resources/read", "resources/subscribe", "resources/unsubscribe"]),
        addressed,
    ),
    st.tuples(st.just("completion/complete"), completions),
    st.tuples(st.just("prompts/get"), filled_prompts),
    st.tuples(
        st.sampled_from([one for one in METHODS if one.endswith("/list")]),
        cursors,
    ),
    st.tuples(st.sampled_from(METHODS), known_parameters),
    st.tuples(texts, st.one_of(known_parameters, anything)),
)


class Line:
    """A line as it goes out, and the answer that it is owed."""

    def __init__(self, said: Any, *, raw: bool = False) -> None:
        text = json.dumps(said, ensure_ascii=not raw)
        self._written = text.encode("utf-8", "surrogatepass")
        self._said = said
        self.is_request = _is_request(said)
        """Exactly one answer must come."""
        number = said.get("id") if isinstance(said, dict) else None
        self.number = number if _is_id(number) else None
        """The id of its answer; None when it has none that an answer can carry."""
        # What no reader of JSON has to take is answered, but may be answered without its id.
        self.shows_its_id = DEEP not in text and _is_json(self._written)
        self.tool = _tool(said)

    def on_the_wire(self, outside: Path) -> bytes:
        there = json.dumps(str(outside))[1:-1].encode()
        whole = self._written.replace(OUTSIDE.encode(), there)
        whole = _DEEP.sub(b"[" * 3_000 + b"]" * 3_000, whole)
        return _HUGE.sub(b"9" * 5_000, whole) + b"\n"

    def __repr__(self) -> str:
        return f"<{self._written[:2_000]!r}>"


_DEEP, _HUGE = (re.compile(b'"' + mark.encode() + b'"(?!:)') for mark in (DEEP, HUGE))


def _is_request(said: Any) -> bool:
    return (
        isinstance(said, dict)
        and said.get("jsonrpc") == "2.0"
        and isinstance(said.get("method"), str)
        and _is_id(said.get("id"))
        and not {"result", "error"} & set(said)
        # It lasts until its client goes away.
        and said["method"] != "subscriptions/listen"
    )


def _tool(said: Any) -> str | None:
    params = said.get("params") if isinstance(said, dict) else None
    if not isinstance(params, dict) or said.get("method") != "tools/call":
        return None
    name = params.get("name")
    return name if isinstance(name, str) and name in TOOLS else None


def _is_id(number: object) -> bool:
    if isinstance(number, str):
        return _is_text(number) and not number.startswith("@")
    return isinstance(number, int) and not isinstance(number, bool)


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_json(written: bytes) -> bool:
    def refuse(constant: str) -> None:
        raise ValueError(constant)

    try:
        json.loads(written.decode(), parse_constant=refuse)
    except ValueError:
        return False
    return True


def request(number: object, method: object, params: object, *, era: str) -> dict[str, Any]:
    if era == MODERN and isinstance(params, dict):
        params = {**params, "_meta": META}
    return {"jsonrpc": "2.0", "id": number, "method": method, "params": params}


def _asked(pair: tuple[Any, Any]) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 7, "method": pair[0], "params": pair[1]}


# --- who says it, and what comes back -----------------------------------------------------------


class Desk:
    """A daemon, a project with a link that leads out of it, and somebody who is not disturbed."""

    def __init__(self, installation: Any) -> None:
        self.installation = installation
        self.home: Path = installation.home
        self.project = installation.directory / "project"
        self.outside = installation.directory / "outside" / "secret.txt"
        self._log = self.home / "daemon.log"
        self._seen = 0

    def connected(self, agent: str) -> Peer:
        return Peer(self, agent)

    def complaints(self) -> str:
        """What the log got since the last look, when there is a traceback in it."""
        with self._log.open(encoding="utf-8", errors="replace") as log:
            log.seek(self._seen)
            said = log.read()
            self._seen = log.tell()
        return said if "Traceback" in said else ""


class Peer:
    """One connection to the daemon's socket for agents."""

    def __init__(self, desk: Desk, agent: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(PATIENCE_S)
        self._socket.connect(str(socket_path(desk.home, MCP_SOCKET)))
        self._lines = self._socket.makefile("rb")
        said = {
            "protocol": 1,
            "version": metadata.version("ifmem"),
            "space": "default",
            "root": str(desk.project),
            "agent": agent,
        }
        self.says(json.dumps(said).encode() + b"\n")
        assert self.hears().get("ready") is True

    def says(self, data: bytes) -> None:
        self._socket.sendall(data)

    def hears(self) -> Any:
        line = self._lines.readline()
        assert line, "the daemon hung up"
        return json.loads(line)

    def asks(self, message: dict[str, Any]) -> Any:
        """The answer to a request while nothing else is under way."""
        self.says(json.dumps(message).encode() + b"\n")
        answer = self.hears()
        assert answer["id"] == message["id"], answer
        return answer

    def shakes_hands(self) -> None:
        client = {"name": "fuzz", "version": "1"}
        opening = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client}
        assert "result" in self.asks(request("opening", "initialize", opening, era=LEGACY))
        self.says(b'{"jsonrpc": "2.0", "method": "notifications/initialized"}\n')

    def says_no_more(self) -> list[Any]:
        """What still comes after the last word."""
        self._socket.shutdown(socket.SHUT_WR)
        return [json.loads(line) for line in self._lines]

    def close(self) -> None:
        self._lines.close()
        self._socket.close()


_RESULTS = {
    name: jsonschema.Draft202012Validator(schema_of_results(*tool.replies))
    for name, tool in TOOLS.items()
}


def is_well_formed(answer: Any, *, tool: str | None = None) -> None:
    """An answer of JSON-RPC, and, of a tool, a result as its schema has it."""
    assert answer["jsonrpc"] == "2.0"
    assert ("result" in answer) != ("error" in answer), answer
    if "error" in answer:
        error = answer["error"]
        assert type(error["code"]) is int and error["code"] not in (0, -32603), answer
        assert isinstance(error["message"], str) and error["message"], answer
        assert not A_FAILURE_OF_OURS.search(json.dumps(error)), answer
        return
    result = answer["result"]
    assert isinstance(result, dict), answer
    if tool is None:
        return
    if result.get("isError"):
        assert set(result["structuredContent"]) == {"error", "message", "facts"}, answer
        assert not A_FAILURE_OF_OURS.search(json.dumps(result)), answer
    else:
        _RESULTS[tool].validate(result["structuredContent"])


def play(desk: Desk, era: str, lines: Sequence[Line]) -> None:
    """Say it all on a new connection; every law but the neighbour's is looked at."""
    peer = desk.connected("fuzz")
    with closing(peer):
        if era == LEGACY:
            peer.shakes_hands()
        elif era == MODERN:
            assert "result" in peer.asks(request("opening", "server/discover", {}, era=MODERN))
        for line in lines:
            peer.says(line.on_the_wire(desk.outside))
        last = request("the last", "tools/call", {"name": "status", "arguments": {}}, era=era)
        peer.says(json.dumps(last).encode() + b"\n")
        heard = _heard(peer, lines)
    (final,) = [one for one in heard if one.get("id") == "the last"]
    if era != UNDECIDED:
        is_well_formed(final, tool="status")
        assert "result" in final and not final["result"].get("isError"), final
    answers = [one for one in heard if "method" not in one and one is not final]
    _each_is_answered_once(lines, answers)
    complaints = desk.complaints()
    assert not complaints, complaints


def _heard(peer: Peer, lines: Sequence[Line]) -> list[Any]:
    """Everything that is told until all that is owed was, and what comes after that."""
    owed = Counter(_key(line.number) for line in lines if line.is_request and line.shows_its_id)
    owed[_key("the last")] += 1
    besides = sum(line.is_request and not line.shows_its_id for line in lines)
    heard = []
    while owed or besides > 0:
        try:
            heard.append(peer.hears())
        except TimeoutError:
            raise AssertionError(f"not answered: {owed}, {besides}; heard: {heard}") from None
        if "method" in heard[-1]:
            continue
        key = _key(heard[-1].get("id"))
        if key in owed:
            owed -= Counter([key])
        else:
            besides -= 1
    return heard + peer.says_no_more()


def _key(number: Any) -> tuple[str, Any]:
    return type(number).__name__, number


def _each_is_answered_once(lines: Sequence[Line], answers: Sequence[Any]) -> None:
    asked = Counter(_key(line.number) for line in lines if line.number is not None)
    tools = {_key(line.number): line.tool for line in lines}
    for answer in answers:
        key = _key(answer.get("id"))
        alone = asked[key] == 1
        is_well_formed(answer, tool=tools.get(key) if alone else None)
    told = Counter(_key(answer.get("id")) for answer in answers)
    nameless = told.pop(_key(None), 0)
    assert told <= asked, (told, asked)
    assert nameless <= sum(not (one.is_request and one.shows_its_id) for one in lines), answers
    assert len(answers) <= len(lines), answers


@pytest.fixture(scope="module")
def desk(install_shared: Callable[..., Any]) -> Iterator[Desk]:
    installation = install_shared()
    configured = "[mcp]\ncalls_per_minute = 1000000\nconcurrent_calls = 100\n"
    installation.write("config.toml", configured)
    installation.write("outside/secret.txt", OUTSIDE_TEXT)
    installation.write("project/notes.md", "# Notes\n\nThe lantern is lit at dusk.\n")
    made = Desk(installation)
    (made.project / "link").symlink_to(made.outside.parent)
    installation.status()
    yield made
    sources = {one["source"] for one in installation.sources()}
    below = f"{made.project.resolve()}/"
    assert {one for one in sources if one.startswith("/") and not one.startswith(below)} == set()
    assert OUTSIDE_TEXT not in json.dumps(installation.findings())
    assert OUTSIDE_TEXT not in installation("recall", "zirconwhistle", "--json").out
    assert "Traceback" not in (made.home / "daemon.log").read_text(errors="replace")


@pytest.fixture(scope="module")
def neighbour(desk: Desk) -> Iterator[Callable[[], None]]:
    """Asks, on a connection that lasts all the while, for what it remembered at the beginning."""
    with closing(desk.connected("neighbour")) as peer:
        claim = {"claim": "The quarry is dry.", "citations": ["notes.md:3"]}
        stored = _called(peer, "remember", claim)

        def is_undisturbed() -> None:
            uri = f"memory://findings/{stored['finding_id']}"
            read = peer.asks(request(2, "resources/read", {"uri": uri}, era=MODERN))
            assert "The quarry is dry." in read["result"]["contents"][0]["text"]

        yield is_undisturbed
        found = _called(peer, "recall", {"query": "quarry dry"})
        assert "The quarry is dry." in json.dumps(found)


def _called(peer: Peer, tool: str, arguments: dict[str, Any]) -> Any:
    call = {"name": tool, "arguments": arguments}
    answer = peer.asks(request(1, "tools/call", call, era=MODERN))
    assert not answer["result"].get("isError"), answer
    return answer["result"]["structuredContent"]


eras = st.sampled_from([MODERN, LEGACY])


def numbered(pairs: Sequence[tuple[Any, Any]], era: str, prefix: str = "") -> list[Line]:
    """Requests with ids of both kinds."""
    return [
        Line(request(f"{prefix}{at}" if at % 2 else at, method, params, era=era))
        for at, (method, params) in enumerate(pairs)
    ]


@settings(FUZZED, max_examples=EXAMPLES)
@given(
    era=st.sampled_from([MODERN, LEGACY, UNDECIDED]),
    said=st.lists(st.tuples(messages, st.booleans()), min_size=1, max_size=6),
)
def test_any_json_is_answered_or_is_no_request(
    desk: Desk, neighbour: Callable[[], None], era: str, said: list[tuple[Any, bool]]
) -> None:
    play(desk, era, [Line(one, raw=raw) for one, raw in said])
    neighbour()


@settings(FUZZED, max_examples=EXAMPLES)
@given(era=eras, said=st.lists(requests, min_size=1, max_size=6))
def test_every_method_takes_any_parameters(
    desk: Desk, neighbour: Callable[[], None], era: str, said: list[tuple[Any, Any]]
) -> None:
    play(desk, era, numbered(said, era))
    neighbour()


@settings(FUZZED, max_examples=3 * EXAMPLES)
@given(era=eras, said=st.lists(calls, min_size=1, max_size=4))
def test_every_tool_takes_any_arguments(
    desk: Desk, neighbour: Callable[[], None], era: str, said: list[Any]
) -> None:
    play(desk, era, numbered([("tools/call", call) for call in said], era))
    neighbour()


steps = st.sampled_from(["..", ".", "", "link", "outside", "project", "secret.txt", "notes.md"])
ways = st.one_of(
    st.sampled_from([OUTSIDE, f"file://{OUTSIDE}", f"{OUTSIDE}/", "link", "../outside"]),
    st.builds(
        lambda begin, inner: begin + "/".join(inner),
        st.sampled_from(["", "", "link/", "../", "/", f"{OUTSIDE}/../", "file://", "file:///"]),
        st.lists(steps, min_size=1, max_size=5),
    ),
)


@settings(FUZZED, max_examples=EXAMPLES)
@given(era=eras, said=st.lists(st.tuples(ways, st.booleans()), min_size=1, max_size=4))
def test_no_way_of_saying_a_path_leads_out_of_the_project(
    desk: Desk, neighbour: Callable[[], None], era: str, said: list[tuple[str, bool]]
) -> None:
    asked = [
        {"name": "load", "arguments": {"paths": [way]}}
        if is_loaded
        else {"name": "remember", "arguments": {"claim": "A path.", "citations": [f"{way}:1"]}}
        for way, is_loaded in said
    ]
    play(desk, era, numbered([("tools/call", one) for one in asked], era))
    with closing(desk.connected("reader")) as peer:
        found = _called(peer, "recall", {"query": "zirconwhistle", "scope": "space"})
        shown = _called(peer, "changes", {"cursor": "0", "limit": 500})
    assert OUTSIDE_TEXT not in json.dumps([found, shown])
    neighbour()


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (rb'"a\ud800"', -32600),
        (b"9" * 5_000, -32600),
        (b"[" * 300 + b"]" * 300, -32600),
        (b"NaN", None),
        (b"1e999", None),
    ],
)
@pytest.mark.parametrize("where", ["socket", "shim"])
def test_what_cannot_be_kept_is_refused_by_the_id_of_its_request(
    desk: Desk, where: str, value: bytes, code: int | None
) -> None:
    call = {"name": "task_post", "arguments": {"title": "lantern", "data": {"x": "@value@"}}}
    whole = _sent(request(5, "tools/call", call, era=MODERN)).replace(b'"@value@"', value)
    answer = _through_a_shim(desk, whole) if where == "shim" else _on_the_socket(desk, whole)
    if value == b"NaN" and where == "shim":
        assert answer["error"]["code"] == -32700
    elif code is None:
        assert (answer["id"], answer["result"]["structuredContent"]["error"]) == (5, "Invalid")
    else:
        assert (answer["id"], answer["error"]["code"]) == (5, code)


@pytest.mark.parametrize("where", ["socket", "shim"])
def test_an_id_that_no_answer_can_carry_ends_nothing(desk: Desk, where: str) -> None:
    line = b'{"jsonrpc": "2.0", "id": "\\ud800", "method": "tools/list"}'
    answer = _through_a_shim(desk, line) if where == "shim" else _on_the_socket(desk, line)
    assert (answer["id"], answer["error"]["code"]) == (None, -32600)


def _on_the_socket(desk: Desk, line: bytes) -> Any:
    """The answer to a line, on a connection that answers the next one too."""
    with closing(desk.connected("careless")) as peer:
        peer.says(line + b"\n")
        answer = peer.hears()
        assert _called(peer, "status", {})
    return answer


def _through_a_shim(desk: Desk, line: bytes) -> Any:
    """The same, by a shim of its own."""
    call = {"name": "status", "arguments": {}}
    last = _sent(request("last", "tools/call", call, era=MODERN))
    done = desk.installation.piped(line + b"\n" + last + b"\n", "mcp")
    assert done.err == ""
    answers = {answer["id"]: answer for answer in done.lines}
    assert "result" in answers.pop("last")
    (answer,) = answers.values()
    return answer


# --- over HTTP ----------------------------------------------------------------------------------


class Web:
    """A server that runs, as one token's holder sees it."""

    def __init__(self, url: str, token: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        self._path = parts.path
        self._connection = http.client.HTTPConnection(
            parts.hostname, parts.port, timeout=PATIENCE_S
        )
        self._headers = {
            "Accept": "application/json, text/event-stream",
            "Authorization": f"Bearer {token}",
            "Content-Type": "application/json",
        }
        client = {"name": "fuzz", "version": "1"}
        opening = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client}
        self._session = ""
        self.posts(_sent(request(1, "initialize", opening, era=LEGACY)), LEGACY, None)

    def posts(self, body: bytes, era: str, said: Any) -> tuple[int, list[Any]]:
        """The status and every message of the answer."""
        headers = {**self._headers, **(_modern(said) if era == MODERN else self._legacy())}
        self._connection.request("POST", self._path, body, headers)
        answer = self._connection.getresponse()
        self._session = self._session or answer.headers.get("mcp-session-id", "")
        text = answer.read().decode()
        if answer.headers.get_content_type() == "text/event-stream":
            told = [line[5:] for line in text.splitlines() if line.startswith("data:")]
            return answer.status, [json.loads(one) for one in told if one.strip()]
        return answer.status, [json.loads(text)] if text else []

    def close(self) -> None:
        self._connection.close()

    def _legacy(self) -> dict[str, str]:
        if not self._session:
            return {}
        return {"Mcp-Session-Id": self._session, "MCP-Protocol-Version": "2025-11-25"}


def _sent(message: Any) -> bytes:
    return json.dumps(message).encode()


def _modern(said: Any) -> dict[str, str]:
    """The headers that repeat what the body says, where a header can say it."""
    headers = {"MCP-Protocol-Version": "2026-07-28"}
    said = said if isinstance(said, dict) else {}
    if isinstance(said.get("method"), str) and _fits_a_header(said["method"]):
        headers["Mcp-Method"] = said["method"]
    params = said.get("params")
    params = params if isinstance(params, dict) else {}
    name = params.get("uri" if said.get("method") == "resources/read" else "name")
    if isinstance(name, str) and _fits_a_header(name):
        headers["Mcp-Name"] = name
    return headers


def _fits_a_header(text: str) -> bool:
    return text.isascii() and text.isprintable() and text == text.strip() and len(text) < 1_000


@pytest.fixture(scope="module")
def web(desk: Desk) -> Iterator[Web]:
    async def token() -> str:
        call = TokenCreateCall("fuzz", ("read", "write", "admin"), (str(desk.project),))
        async with ReconnectingCalls(desk.installation.settings) as memory:
            made = await memory.call("token_create", call, returns=TokenShape, space="default")
            return made.token or ""

    process: subprocess.Popen[str] = desk.installation.start("serve", "--port", "0", "--json")
    try:
        assert process.stdout is not None
        assert select.select([process.stdout], [], [], PATIENCE_S)[0]
        url = json.loads(process.stdout.readline())["url"]
        with closing(Web(url, asyncio.run(token()))) as made:
            yield made
        process.send_signal(signal.SIGTERM)
        assert "Traceback" not in process.communicate(timeout=PATIENCE_S)[1]
        assert process.returncode == 0
    finally:
        process.kill()
        process.communicate()


@settings(FUZZED, max_examples=EXAMPLES)
@given(
    era=eras,
    said=st.one_of(
        st.tuples(st.just("tools/call"), calls).map(_asked), requests.map(_asked), messages
    ),
)
def test_over_http_too(
    desk: Desk, neighbour: Callable[[], None], web: Web, era: str, said: Any
) -> None:
    if _lasts(said):
        return
    if era == MODERN and isinstance(said, dict) and isinstance(said.get("params"), dict):
        said = {**said, "params": {**said["params"], "_meta": META}}
    line = Line(said)
    status, answers = web.posts(line.on_the_wire(desk.outside), era, said)
    assert status < 500, (status, answers)
    answers = [one for one in answers if "method" not in one]
    for answer in answers:
        is_well_formed(answer, tool=line.tool)
    if line.is_request:
        (answer,) = answers
        # The answer belongs to its request by where it comes; what was no message has no id.
        assert answer.get("id") == line.number or status == 400, answer
    listing = request(2, "tools/call", {"name": "status", "arguments": {}}, era=era)
    status, answers = web.posts(_sent(listing), era, listing)
    assert status == 200
    is_well_formed(answers[-1], tool="status")
    complaints = desk.complaints()
    assert not complaints, complaints
    neighbour()


def _lasts(said: Any) -> bool:
    said = said if isinstance(said, list) else [said]
    return any(
        isinstance(one, dict) and one.get("method") == "subscriptions/listen" for one in said
    )
