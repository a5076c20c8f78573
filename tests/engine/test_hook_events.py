"""From the hooks' events of three agents to what was done."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifmem.engine.hook_events import (
    AskedGit,
    Decided,
    Nothing,
    RanTests,
    Read,
    Searched,
    Wrote,
    deed_of,
    directory_of,
    is_own_tool,
)

CONCLUSION = "The retry budget is enforced in the client, before the first attempt."


def claude(tool: str, given: Any, response: Any = None, **more: Any) -> dict[str, Any]:
    return {
        "session_id": "7f1c",
        "transcript_path": "/home/ada/.claude/projects/x/7f1c.jsonl",
        "cwd": "/home/ada/shop",
        "permission_mode": "default",
        "hook_event_name": "PostToolUse",
        "tool_name": tool,
        "tool_input": given,
        "tool_response": response,
        "tool_use_id": "toolu_1",
        **more,
    }


def codex(tool: str, given: Any, response: Any = "") -> dict[str, Any]:
    return {
        "session_id": "0199",
        "turn_id": "3",
        "cwd": "/home/ada/shop",
        "hook_event_name": "PostToolUse",
        "model": "some-model",
        "tool_name": tool,
        "tool_input": given,
        "tool_response": response,
    }


def gemini(tool: str, given: Any, said: Any = "") -> dict[str, Any]:
    return {
        "session_id": "a-b",
        "cwd": "/home/ada/shop",
        "hook_event_name": "AfterTool",
        "timestamp": "2026-03-01T10:00:00.000Z",
        "tool_name": tool,
        "tool_input": given,
        "tool_response": {"llmContent": said, "returnDisplay": "shown to people"},
    }


READ_ANSWER = {"type": "text", "file": {"filePath": "/home/ada/shop/a.py", "content": "x = 1"}}


@pytest.mark.parametrize(
    "event",
    [
        claude("Read", {"file_path": "/home/ada/shop/a.py"}, READ_ANSWER),
        claude("Bash", {"command": "cat /home/ada/shop/a.py"}, {"stdout": "x = 1"}),
        codex("Bash", {"command": "nl -ba /home/ada/shop/a.py"}, "1 x = 1"),
        codex("shell", {"command": ["bash", "-lc", "head -5 /home/ada/shop/a.py"]}),
        gemini("read_file", {"absolute_path": "/home/ada/shop/a.py"}, "x = 1"),
        gemini("read_file", {"file_path": "/home/ada/shop/a.py"}, "x = 1"),
        gemini("read_many_files", {"paths": ["/home/ada/shop/a.py", "docs/*.md"]}),
    ],
)
def test_a_file_was_read(event: dict[str, Any]) -> None:
    assert deed_of(event) == Read(("/home/ada/shop/a.py",))


PATCH = """*** Begin Patch
*** Update File: src/a.py
@@
-x = 1
+x = 2
*** Add File: src/b.py
+y = 1
*** Delete File: src/c.py
*** End Patch"""


@pytest.mark.parametrize(
    ("event", "paths"),
    [
        (claude("Write", {"file_path": "/p/a.py", "content": "x"}), ("/p/a.py",)),
        (claude("Edit", {"file_path": "/p/a.py", "old_string": "x"}), ("/p/a.py",)),
        (claude("NotebookEdit", {"notebook_path": "/p/a.ipynb"}), ("/p/a.ipynb",)),
        (gemini("write_file", {"file_path": "/p/a.py"}), ("/p/a.py",)),
        (gemini("replace", {"file_path": "/p/a.py"}), ("/p/a.py",)),
        (codex("apply_patch", {"command": PATCH}), ("src/a.py", "src/b.py", "src/c.py")),
        (codex("apply_patch", PATCH), ("src/a.py", "src/b.py", "src/c.py")),
        (
            codex("shell", {"command": ["apply_patch", PATCH]}),
            ("src/a.py", "src/b.py", "src/c.py"),
        ),
    ],
)
def test_files_were_written(event: dict[str, Any], paths: tuple[str, ...]) -> None:
    assert deed_of(event) == Wrote(paths)


@pytest.mark.parametrize(
    ("event", "query", "hits"),
    [
        (
            claude(
                "Grep",
                {"pattern": "retry", "path": "src", "output_mode": "content"},
                {"mode": "content", "numFiles": 1, "filenames": [], "content": "src/a.py:3:retry"},
            ),
            "retry src",
            "src/a.py:3:retry",
        ),
        (
            claude("Glob", {"pattern": "**/*.py"}, {"filenames": ["a.py", "b.py"], "numFiles": 2}),
            "**/*.py",
            "a.py\nb.py",
        ),
        (
            gemini("search_file_content", {"pattern": "retry"}, "Found 1 match\nFile: a.py\nL3: x"),
            "retry",
            "Found 1 match\nFile: a.py\nL3: x",
        ),
        (codex("Bash", {"command": "rg retry"}, "a.py:retry"), "rg retry", "a.py:retry"),
    ],
)
def test_the_project_was_searched(event: dict[str, Any], query: str, hits: str) -> None:
    deed = deed_of(event)
    assert isinstance(deed, Searched)
    assert (deed.query, deed.hits) == (query, hits)


@pytest.mark.parametrize(
    "event",
    [
        claude(
            "Bash",
            {"command": "pytest -q", "description": "Run the tests"},
            {"stdout": "1 failed", "stderr": "", "interrupted": False, "isImage": False},
        ),
        codex("Bash", {"command": "pytest -q"}, "1 failed"),
        codex("exec_command", {"cmd": "pytest -q"}, {"output": "1 failed", "exit_code": 1}),
        gemini(
            "run_shell_command",
            {"command": "pytest -q"},
            "<untrusted_context>\nOutput: 1 failed\nProcess Group PGID: 7\n</untrusted_context>",
        ),
        claude("Bash", {"command": "pytest -q"}, None, error="1 failed"),
        claude("Bash", {"command": "pytest -q"}, [{"type": "text", "text": "1 failed"}]),
    ],
)
def test_tests_were_run(event: dict[str, Any]) -> None:
    assert deed_of(event) == RanTests("pytest -q", "1 failed")


def test_git_was_asked_in_the_folder_it_was_asked_in() -> None:
    event = claude("Bash", {"command": "cd pkg && git diff HEAD a.py"}, {"stdout": "diff"})
    assert deed_of(event) == AskedGit(
        "cd pkg && git diff HEAD a.py", "diff", ("pkg", "pkg/diff", "pkg/HEAD", "pkg/a.py")
    )


@pytest.mark.parametrize(
    "event",
    [
        {"hook_event_name": "Stop", "session_id": "s", "last_assistant_message": CONCLUSION},
        {
            "hook_event_name": "SubagentStop",
            "session_id": "s",
            "last_assistant_message": CONCLUSION,
        },
        {"hook_event_name": "AfterAgent", "session_id": "s", "prompt_response": CONCLUSION},
        {
            "type": "agent-turn-complete",
            "thread-id": "s",
            "turn-id": "1",
            "input-messages": ["where?"],
            "last-assistant-message": CONCLUSION,
        },
    ],
)
def test_a_turn_ended_with_words_worth_keeping(event: dict[str, Any]) -> None:
    assert deed_of(event) == Decided(CONCLUSION, "s")


def test_what_was_asked_stands_before_the_words_that_ended_the_turn() -> None:
    event = {"hook_event_name": "AfterAgent", "prompt": "where?", "prompt_response": CONCLUSION}
    assert deed_of(event) == Decided(f"Asked: where?\n\n{CONCLUSION}", "-")


STEPS = [
    {"content": "Measure the retry budget", "status": "completed"},
    {"step": "Move it into the client", "status": "in_progress"},
]


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (claude("ExitPlanMode", {"plan": CONCLUSION}), CONCLUSION),
        (
            claude("TodoWrite", {"todos": STEPS}),
            "- [completed] Measure the retry budget\n- [in_progress] Move it into the client",
        ),
        (
            codex("update_plan", {"plan": STEPS}),
            "- [completed] Measure the retry budget\n- [in_progress] Move it into the client",
        ),
    ],
)
def test_a_plan_was_made(event: dict[str, Any], text: str) -> None:
    assert deed_of(event) == Decided(text, event["session_id"], plan=True)


@pytest.mark.parametrize(
    "event",
    [
        {},
        {"hook_event_name": "SessionStart", "source": "startup"},
        {"hook_event_name": "SessionEnd", "reason": "exit"},
        {"hook_event_name": "PreCompact", "trigger": "auto"},
        {"hook_event_name": "UserPromptSubmit", "prompt": CONCLUSION},
        claude("Read", {"file_path": "/p/a.py"}) | {"hook_event_name": "PreToolUse"},
        {"hook_event_name": "Stop", "last_assistant_message": "Done."},
        {"hook_event_name": "Stop", "stop_hook_active": False},
        claude("WebFetch", {"url": "https://example.org/"}, CONCLUSION),
        claude("Read", {}),
        claude("Read", "not an object"),
        claude("Grep", {"path": "src"}),
        claude("Bash", {"command": "rm -rf build"}),
        claude("Bash", {}),
        claude("mcp__github__search_code", {"query": "retry"}, CONCLUSION),
        claude("mcp__ifmem__recall", {"query": "retry"}, CONCLUSION),
        claude("mcp__memory__ask", {"question": "retry?"}, CONCLUSION),
        claude("mcp__ifmem-shop__recall", {"query": "retry"}, CONCLUSION),
        gemini("mcp_ifmem_recall", {"query": "retry"}, CONCLUSION),
        claude("Bash", {"command": "ifmem recall retry | grep x"}, {"stdout": CONCLUSION}),
        codex("Bash", {"command": ["bash", "-lc", "ifmem ask 'retry?'"]}, CONCLUSION),
    ],
)
def test_nothing_was_done_that_is_kept(event: dict[str, Any]) -> None:
    assert isinstance(deed_of(event), Nothing)


def test_other_servers_are_not_taken_for_ours() -> None:
    assert is_own_tool("mcp__ifmem__recall")
    assert not is_own_tool("mcp__ifmemory__recall")
    assert not is_own_tool("mcp__memories__recall")


def test_the_directory_of_a_command_goes_before_that_of_the_session() -> None:
    assert directory_of(codex("Bash", {"command": "ls", "workdir": "/p/sub"})) == "/p/sub"
    assert directory_of(codex("Bash", {"command": "ls"})) == "/home/ada/shop"
    assert directory_of({"cwd": 3}) == ""


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=10,
)
NAMES = st.sampled_from(["PostToolUse", "AfterTool", "Stop", "AfterAgent", "agent-turn-complete"])
TOOLS = st.sampled_from(["Read", "Write", "Grep", "Bash", "apply_patch", "TodoWrite", "shell"])
FIELDS = st.dictionaries(
    st.sampled_from(["file_path", "paths", "pattern", "command", "plan", "todos", "path"]), JSON
)


@given(NAMES, TOOLS, JSON | FIELDS, JSON)
def test_no_shape_of_an_event_is_an_error(name: str, tool: str, given: Any, answer: Any) -> None:
    event = {
        "hook_event_name": name,
        "tool_name": tool,
        "tool_input": given,
        "tool_response": answer,
        "last_assistant_message": answer,
        "session_id": answer,
    }
    deed_of(event)
    directory_of(event)
