"""What goes into an agent's file comes out of it again, and all the rest stays, byte for byte."""

from __future__ import annotations

import json
import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifmem.agents import editing
from ifmem.agents.clients import CLIENTS
from ifmem.agents.json_text import parse
from ifmem.agents.launch import Launch
from ifmem.agents.unreadable import UnreadableError

LAUNCH = Launch(program=("/opt/tools/bin/ifmem",))
MOVED = Launch(program=("/opt/newer/bin/ifmem",), home="/srv/a home", space="acme")
JSON_CLIENTS = [client for client in CLIENTS.values() if not client.toml]
CAPTURING = [client for client in CLIENTS.values() if client.hooks]
CODEX = CLIENTS["codex"]

names = st.sampled_from(["mcpServers", "servers", "hooks", "PostToolUse", "a", "b c", "é", 'q"'])
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-9, 9_999), st.text(max_size=5), st.just("// no")
)
groups = st.fixed_dictionaries(
    {"hooks": st.lists(st.fixed_dictionaries({"command": st.just("lint")}), max_size=2)}
)
hooks = st.dictionaries(
    st.sampled_from(["PostToolUse", "SessionStart", "Stop", "Other"]), st.lists(groups, max_size=2)
)
servers = st.dictionaries(st.sampled_from(["x", "y z"]), st.just({"command": "other", "args": []}))
others = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=8,
)
configurations = st.builds(
    lambda own, rest, order: dict(
        sorted({**rest, **{k: v for k, v in own.items() if v is not None}}.items(), key=order)
    ),
    st.fixed_dictionaries(
        {
            "mcpServers": st.none() | servers,
            "servers": st.none() | servers,
            "hooks": st.none() | hooks,
        }
    ),
    st.dictionaries(st.sampled_from(["a", "b", "z", "theme"]), others, max_size=3),
    st.sampled_from([lambda item: item[0], lambda item: item[0][::-1]]),
)
gaps = st.sampled_from(
    ["", "", " ", "\n", "\n  ", "\n\t", "\r\n", " // why\n", "/* so */", "\n  /* a\n b */\n"]
)


@st.composite
def written(draw: st.DrawFn, value: Any = None) -> str:
    """A configuration as somebody may have written it."""
    style = draw(st.sampled_from(["pretty", "tabs", "compact", "by hand"]))
    plain = draw(configurations)
    if style == "pretty":
        return json.dumps(plain, indent=draw(st.sampled_from([2, 4]))) + draw(
            st.sampled_from(["", "\n"])
        )
    if style == "tabs":
        return json.dumps(plain, indent="\t").replace("\n", draw(st.sampled_from(["\n", "\r\n"])))
    if style == "compact":
        return json.dumps(plain, separators=(",", ":"))
    return draw(st.sampled_from(["", "\ufeff"])) + _by_hand(draw, plain) + draw(gaps)


def _by_hand(draw: st.DrawFn, value: Any) -> str:
    def gap() -> str:
        return str(draw(gaps))

    if not isinstance(value, dict | list):
        return gap() + json.dumps(value, ensure_ascii=False) + gap()
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    parts = [
        (f"{gap()}{json.dumps(one)}{gap()}:" if isinstance(value, dict) else "")
        + _by_hand(draw, value[one] if isinstance(value, dict) else one)
        for one in value
    ]
    trailing = "," + gap() if parts and draw(st.booleans()) else ""
    inside = ",".join(parts) if parts else gap()
    return gap() + opening + inside + trailing + closing + gap()


def everything(client: Any, text: str | None, launch: Launch) -> str | None:
    with_server = editing.connected(client, text, "ifmem", launch)
    return editing.capturing(client, with_server, launch, share=False)


def nothing(client: Any, text: str | None) -> str | None:
    return editing.disconnected(client, editing.not_capturing(client, text), "ifmem")


@given(written(), st.sampled_from(JSON_CLIENTS))
def test_a_server_that_is_taken_out_leaves_the_file_as_it_was(text: str, client: Any) -> None:
    after = editing.connected(client, text, "ifmem", LAUNCH)
    assert editing.disconnected(client, after, "ifmem") == text


@given(written(), st.sampled_from(JSON_CLIENTS))
def test_nothing_but_the_entry_is_added(text: str, client: Any) -> None:
    before = parse(text).plain
    after = parse(editing.connected(client, text, "ifmem", LAUNCH)).plain
    entry = after[client.holder].pop("ifmem")
    assert entry["command"] == "/opt/tools/bin/ifmem"
    assert entry["args"] == ["mcp", "--agent", client.name]
    if client.holder not in before:
        assert after.pop(client.holder) == {}
    assert after == before


@given(written(), st.sampled_from(JSON_CLIENTS))
def test_a_second_run_changes_nothing(text: str, client: Any) -> None:
    once = editing.connected(client, text, "ifmem", LAUNCH)
    assert editing.connected(client, once, "ifmem", LAUNCH) == once


@given(written(), st.sampled_from([c for c in CAPTURING if not c.toml]))
def test_hooks_and_server_in_one_file_are_taken_out_without_a_trace(text: str, client: Any) -> None:
    both = everything(client, text, LAUNCH)
    assert everything(client, both, LAUNCH) == both
    assert nothing(client, both) == text


@given(written(), st.sampled_from(CAPTURING))
def test_the_hooks_of_others_stay_beside_ours(text: str, client: Any) -> None:
    before = parse(text).plain.get("hooks", {})
    after = parse(editing.capturing(client, text, LAUNCH, share=True) or "").plain["hooks"]
    for point in client.hooks:
        assert after[point.event][:-1] == before.get(point.event, [])
        (ours,) = after[point.event][-1]["hooks"]
        assert ours["command"] == f"/opt/tools/bin/ifmem hook {client.name} --share"
    assert {name: after[name] for name in before if name == "Other"} == {
        name: before[name] for name in before if name == "Other"
    }


@given(written(), st.sampled_from([c for c in CAPTURING if not c.toml]))
def test_a_moved_installation_is_put_in_the_place_of_the_old_one(text: str, client: Any) -> None:
    moved = everything(client, everything(client, text, LAUNCH), MOVED)
    assert moved is not None and "/opt/tools" not in moved
    assert everything(client, moved, MOVED) == moved
    plain = parse(moved).plain
    assert list(plain[client.holder]).count("ifmem") == 1
    for point in client.hooks:
        assert sum("ifmem" in json.dumps(group) for group in plain["hooks"][point.event]) == 1
    assert nothing(client, moved) == text


@pytest.mark.parametrize("client", CLIENTS.values(), ids=lambda client: client.name)
def test_a_file_that_was_not_there_is_gone_again(client: Any) -> None:
    made = editing.connected(client, None, "ifmem", LAUNCH)
    assert made.endswith("\n")
    assert editing.disconnected(client, made, "ifmem") is None
    if client.hooks:
        made_for_hooks = editing.capturing(client, None, LAUNCH, share=False)
        assert editing.not_capturing(client, made_for_hooks) is None


@pytest.mark.parametrize("client", CLIENTS.values(), ids=lambda client: client.name)
@pytest.mark.parametrize("text", ["", "\n", "  \n\n"])
def test_a_file_that_was_empty_is_empty_again(client: Any, text: str) -> None:
    made = editing.connected(client, text, "ifmem", LAUNCH)
    assert editing.disconnected(client, made, "ifmem") == text


def test_a_comment_stays_on_the_line_that_it_explains() -> None:
    text = '{\n  "servers": {\n    "x": {"command": "y"} // the old one\n  }\n}\n'
    after = editing.connected(CLIENTS["vscode"], text, "ifmem", LAUNCH)
    assert '"y"}, // the old one\n    "ifmem": {\n      "type": "stdio",' in after


@pytest.mark.parametrize("name", ["gemini", "codex"])
def test_the_ends_of_lines_are_those_of_the_file(name: str) -> None:
    text = "a = 1\r\n" if name == "codex" else '{\r\n\t"a": 1\r\n}\r\n'
    after = editing.connected(CLIENTS[name], text, "ifmem", LAUNCH)
    assert after.count("\n") == after.count("\r\n") > 4
    assert ("\r\n\t\t" in after) is (name == "gemini")


def test_what_a_person_added_to_the_entry_stays_when_its_command_changes() -> None:
    client = CLIENTS["gemini"]
    text = json.dumps(
        {
            "mcpServers": {
                "ifmem": {
                    "command": "/old/ifmem",
                    "args": ["mcp", "--agent", "gemini"],
                    "trust": True,
                    "env": {"LANG": "C"},
                }
            }
        }
    )
    launch = Launch(program=("/new/ifmem",), environment={"IFMEM_CONFIG": "/etc/i.toml"})
    entry = editing.entry(client, editing.connected(client, text, "ifmem", launch), "ifmem")
    assert entry == {
        "command": "/new/ifmem",
        "args": ["mcp", "--agent", "gemini"],
        "trust": True,
        "env": {"LANG": "C", "IFMEM_CONFIG": "/etc/i.toml"},
    }


def test_a_server_of_that_name_that_is_not_ours_is_neither_changed_nor_taken_out() -> None:
    text = '{"mcpServers": {"ifmem": {"url": "http://127.0.0.1:9/mcp"}}}'
    for client in (CLIENTS["claude"], CLIENTS["cursor"]):
        with pytest.raises(UnreadableError, match="--name"):
            editing.connected(client, text, "ifmem", LAUNCH)
        assert editing.disconnected(client, text, "ifmem") == text
        other = editing.connected(client, text, "memory", LAUNCH)
        assert editing.disconnected(client, other, "memory") == text


@pytest.mark.parametrize(
    "text",
    [
        *("{", '{"a": 1} {}', '{"a" 1}', "[1", "3", "[]", "{'a': 1}", "/*", '{"x": tru}'),
        *('{"mcpServers": []}', '{"mcpServers": 3}', '{"a": NaN}', '{"a": "\n"}', '{"a": 1,,}'),
        "[" * 5_000,
    ],
)
def test_what_cannot_be_read_is_not_edited(text: str) -> None:
    with pytest.raises(UnreadableError):
        editing.connected(CLIENTS["claude"], text, "ifmem", LAUNCH)


def test_a_list_of_hooks_that_is_none_is_not_edited() -> None:
    with pytest.raises(UnreadableError, match="no list"):
        editing.capturing(CLIENTS["claude"], '{"hooks": {"Stop": {}}}', LAUNCH, share=False)


def test_a_path_with_spaces_is_one_word_to_the_shell() -> None:
    launch = Launch(program=("/my tools/ifmem",), environment={"IFMEM_CONFIG": "/a b.toml"})
    text = editing.capturing(CLIENTS["claude"], None, launch, share=False)
    (command,) = editing.hook_commands(CLIENTS["claude"], text)
    assert command == "env 'IFMEM_CONFIG=/a b.toml' '/my tools/ifmem' hook claude"
    assert editing.not_capturing(CLIENTS["claude"], text) is None


toml_pieces = st.lists(
    st.sampled_from(
        [
            'model = "m"',
            "# [mcp_servers.ifmem]",
            'text = """\n[mcp_servers.ifmem]\n"""',
            "list = [\n  1, # [x]\n  2,\n]",
            "",
            "n = nan",
            "[mcp_servers.other]\ncommand = 'c'\nargs = ['#', \"=\"]",
            "[mcp_servers.other.env]\n\"K=\" = 'v' # [why]",
            "[[rules]]\nname = '''it's'''",
            "[[rules]]",
            '[projects."/home/a b"]\ntrust_level = "trusted"\n',
            "[mcp_servers]",
            "[ features ]\nx.y = { z = [{}] }",
        ]
    ),
    unique=True,
    max_size=8,
)


@st.composite
def toml_texts(draw: st.DrawFn) -> str:
    newline = draw(st.sampled_from(["\n", "\r\n"]))
    text = "\n".join(draw(toml_pieces)) + draw(st.sampled_from(["", "\n", "\n\n"]))
    return text.replace("\n", newline)


def readable(text: str) -> bool:
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return False
    return True


@given(toml_texts().filter(readable))
def test_a_table_that_is_taken_out_leaves_the_file_as_it_was(text: str) -> None:
    after = editing.connected(CODEX, text, "ifmem", LAUNCH)
    entry = tomllib.loads(after)["mcp_servers"]["ifmem"]
    assert entry == {
        "command": "/opt/tools/bin/ifmem",
        "args": ["mcp", "--agent", "codex"],
        "required": True,
    }
    assert editing.connected(CODEX, after, "ifmem", LAUNCH) == after
    moved = editing.connected(CODEX, after, "ifmem", MOVED)
    assert tomllib.loads(moved)["mcp_servers"]["ifmem"]["args"][3:] == [
        *("--home", "/srv/a home"),
        *("--space", "acme"),
    ]
    assert editing.disconnected(CODEX, moved, "ifmem") == text


@given(toml_texts().filter(readable), toml_texts().filter(readable))
def test_what_follows_the_table_stays(text: str, more: str) -> None:
    after = editing.connected(CODEX, text, "ifmem", LAUNCH)
    tables = "[mcp_servers.ifmem.tools.recall]\napproval_mode = 'approve'\n[later]\n" + more
    longer = after + ("" if after.endswith("\n") else "\n") + tables
    if readable(longer):
        left = editing.disconnected(CODEX, longer, "ifmem")
        assert left is not None and left.endswith("[later]\n" + more)
        expected = tomllib.loads(longer)
        del expected["mcp_servers"]["ifmem"]
        found = tomllib.loads(left)
        found.setdefault("mcp_servers", {})
        assert repr(sorted(found.items())) == repr(sorted(expected.items()))


@pytest.mark.parametrize(
    "text",
    [
        "mcp_servers = { x = { command = 'c' } }",
        "mcp_servers = 3",
        "x = ",
        "[mcp_servers]\nifmem = { command = '/a/ifmem', args = ['mcp'] }",
        "[mcp_servers]\nifmem.command = '/a/ifmem'\nifmem.args = ['mcp']",
        "\ufeffa = 1",
    ],
)
def test_a_table_that_cannot_be_put_in_is_refused(text: str) -> None:
    with pytest.raises(UnreadableError):
        editing.connected(CODEX, text, "ifmem", LAUNCH)
