"""The tools, resources and prompts that the protocol's conformance suite asks a server for.

They are put on top of whatever a server has: what is not one of them goes to the handler that was
there before. What each must do is said by the suite itself (its scenarios' descriptions).
"""

from __future__ import annotations

import asyncio
import json
import warnings
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import mcp_types as types
from mcp.server.lowlevel import Server
from mcp.server.request_state import RequestStateBoundary, RequestStateSecurity
from mcp.shared.exceptions import MCPDeprecationWarning, MCPError
from mcp.shared.message import ServerMessageMetadata

PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJg"
    "gg=="
)
SILENCE = "UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAEAfAAABAAgAZGF0YQAAAAA="
BEAT_S = 0.05
"""The suite wants its notifications a moment apart."""

Context = Any
Tool = Callable[[Context, types.CallToolRequestParams], Awaitable[Any]]


def register_fixtures(server: Server[Any]) -> None:
    """Put the suite's fixtures on a server that is built."""
    server.middleware.append(
        RequestStateBoundary(RequestStateSecurity.ephemeral(), default_audience=server.name)
    )
    _over(server, "tools/list", types.PaginatedRequestParams, _with_tools)
    _over(server, "tools/call", types.CallToolRequestParams, _call_tool)
    _over(server, "resources/list", types.PaginatedRequestParams, _with_resources)
    _over(server, "resources/read", types.ReadResourceRequestParams, _read_resource)
    _over(server, "prompts/list", types.PaginatedRequestParams, _with_prompts)
    _over(server, "prompts/get", types.GetPromptRequestParams, _get_prompt)
    _over(server, "completion/complete", types.CompleteRequestParams, _complete)
    _over(server, "resources/subscribe", types.SubscribeRequestParams, _subscribed)
    _over(server, "resources/unsubscribe", types.UnsubscribeRequestParams, _subscribed)
    server.add_request_handler("logging/setLevel", types.SetLevelRequestParams, _nothing)


Before = Callable[[Context, Any], Awaitable[Any]]


def _over(
    server: Server[Any],
    method: str,
    params: type[Any],
    handler: Callable[[Before, Context, Any], Awaitable[Any]],
) -> None:
    """Answer a method by a fixture that may pass it on to the handler before it."""
    entry = server.get_request_handler(method)
    assert entry is not None, f"the server does not answer {method}"
    before = entry.handler

    async def handle(context: Context, given: Any) -> Any:
        return await handler(before, context, given)

    server.add_request_handler(method, params, handle)


async def _nothing(context: Context, params: Any) -> types.EmptyResult:
    return types.EmptyResult()


async def _with_tools(before: Before, context: Context, params: Any) -> types.ListToolsResult:
    ours = await before(context, params)
    fixtures = [
        types.Tool(name=name, description=f"Fixture {name}.", input_schema=schema)
        for name, (schema, _) in TOOLS.items()
    ]
    return ours.model_copy(update={"tools": [*ours.tools, *fixtures]})


async def _call_tool(before: Before, context: Context, params: Any) -> Any:
    if params.name not in TOOLS:
        return await before(context, params)
    return await TOOLS[params.name][1](context, params)


async def _with_resources(before: Before, context: Context, params: Any) -> Any:
    ours = await before(context, params)
    fixtures = [
        types.Resource(uri=uri, name=uri, description="A fixture.", mime_type="text/plain")
        for uri in ("test://static-text", "test://static-binary", "test://watched-resource")
    ]
    return ours.model_copy(update={"resources": [*ours.resources, *fixtures]})


async def _read_resource(before: Before, context: Context, params: Any) -> Any:
    uri = str(params.uri)
    if uri == "test://static-text":
        text = "This is the content of the static text resource."
        contents: Any = types.TextResourceContents(uri=uri, mime_type="text/plain", text=text)
    elif uri == "test://static-binary":
        contents = types.BlobResourceContents(uri=uri, mime_type="image/png", blob=PIXEL)
    elif uri.startswith("test://template/"):
        part = uri.split("/")[3]
        data = {"id": part, "templateTest": True, "data": f"Data for ID: {part}"}
        contents = types.TextResourceContents(
            uri=uri, mime_type="application/json", text=json.dumps(data)
        )
    else:
        return await before(context, params)
    return types.ReadResourceResult(contents=[contents])


async def _subscribed(before: Before, context: Context, params: Any) -> Any:
    if str(params.uri).startswith("test://"):
        return types.EmptyResult()
    return await before(context, params)


async def _with_prompts(before: Before, context: Context, params: Any) -> Any:
    ours = await before(context, params)
    fixtures = [
        types.Prompt(
            name=name,
            description=f"Fixture {name}.",
            arguments=[types.PromptArgument(name=one, required=True) for one in arguments],
        )
        for name, arguments in PROMPTS.items()
    ]
    return ours.model_copy(update={"prompts": [*ours.prompts, *fixtures]})


PROMPTS: Mapping[str, tuple[str, ...]] = {
    "test_simple_prompt": (),
    "test_prompt_with_arguments": ("arg1", "arg2"),
    "test_prompt_with_embedded_resource": ("resourceUri",),
    "test_prompt_with_image": (),
    "test_input_required_result_prompt": (),
}


async def _get_prompt(before: Before, context: Context, params: Any) -> Any:
    if params.name not in PROMPTS:
        return await before(context, params)
    given = params.arguments or {}
    match params.name:
        case "test_simple_prompt":
            blocks: list[Any] = [_text("This is a simple prompt for testing.")]
        case "test_prompt_with_arguments":
            said = f"Prompt with arguments: arg1='{given['arg1']}', arg2='{given['arg2']}'"
            blocks = [_text(said)]
        case "test_prompt_with_embedded_resource":
            blocks = [
                _embedded(given["resourceUri"], "Embedded resource content for testing."),
                _text("Please process the embedded resource above."),
            ]
        case "test_prompt_with_image":
            blocks = [_image(), _text("Please analyze the image above.")]
        case _:
            answer = (params.input_responses or {}).get("user_context")
            if answer is None:
                form = _form("What context should the prompt use?", context="string")
                return types.InputRequiredResult(input_requests={"user_context": form})
            blocks = [_text(f"Context: {answer.content}")]
    return types.GetPromptResult(
        messages=[types.PromptMessage(role="user", content=block) for block in blocks]
    )


async def _complete(before: Before, context: Context, params: Any) -> Any:
    if getattr(params.ref, "name", "").startswith("test_"):
        return types.CompleteResult(completion=types.Completion(values=["paris", "park"]))
    return await before(context, params)


def _text(text: str) -> types.TextContent:
    return types.TextContent(text=text)


def _image() -> types.ImageContent:
    return types.ImageContent(data=PIXEL, mime_type="image/png")


def _embedded(uri: str, text: str, mime_type: str = "text/plain") -> types.EmbeddedResource:
    contents = types.TextResourceContents(uri=uri, mime_type=mime_type, text=text)
    return types.EmbeddedResource(resource=contents)


def _said(*blocks: Any, is_error: bool = False) -> types.CallToolResult:
    return types.CallToolResult(content=list(blocks), is_error=is_error)


def _form(message: str, **fields: str) -> types.ElicitRequest:
    schema = {
        "type": "object",
        "properties": {name: {"type": kind} for name, kind in fields.items()},
        "required": list(fields),
    }
    return types.ElicitRequest(
        params=types.ElicitRequestFormParams(message=message, requested_schema=schema)
    )


def _sampling(prompt: str, most: int = 100) -> types.CreateMessageRequest:
    return types.CreateMessageRequest(
        params=types.CreateMessageRequestParams(
            messages=[types.SamplingMessage(role="user", content=_text(prompt))], max_tokens=most
        )
    )


async def _simple_text(context: Context, params: Any) -> Any:
    return _said(_text("This is a simple text response for testing."))


async def _image_content(context: Context, params: Any) -> Any:
    return _said(_image())


async def _audio_content(context: Context, params: Any) -> Any:
    return _said(types.AudioContent(data=SILENCE, mime_type="audio/wav"))


async def _embedded_resource(context: Context, params: Any) -> Any:
    return _said(_embedded("test://embedded-resource", "This is an embedded resource content."))


async def _mixed(context: Context, params: Any) -> Any:
    data = json.dumps({"test": "data", "value": 123})
    resource = _embedded("test://mixed-content-resource", data, "application/json")
    return _said(_text("Multiple content types test:"), _image(), resource)


async def _logging(context: Context, params: Any) -> Any:
    for line in ("Tool execution started", "Tool processing data", "Tool execution completed"):
        await context.session.send_notification(
            types.LoggingMessageNotification(
                params=types.LoggingMessageNotificationParams(level="info", data=line)
            ),
            related_request_id=context.request_id,
        )
        await asyncio.sleep(BEAT_S)
    return _said(_text("Logged."))


async def _progress(context: Context, params: Any) -> Any:
    for done in (0, 50, 100):
        await context.session.report_progress(done, 100)
        await asyncio.sleep(BEAT_S)
    return _said(_text("Done."))


async def _error(context: Context, params: Any) -> Any:
    return _said(_text("This tool intentionally returns an error for testing"), is_error=True)


async def _asked(context: Context, request: Any, answer: type[Any]) -> Any:
    """What the client answers, by the stream of the request that is served: another may not be
    there yet."""
    own = ServerMessageMetadata(related_request_id=context.request_id)
    return await context.session.send_request(request, answer, metadata=own)


async def _ask_model(context: Context, params: Any) -> Any:
    request = _sampling(params.arguments["prompt"])
    answer = await _asked(context, request, types.CreateMessageResult)
    return _said(_text(f"LLM response: {answer.content.text}"))


def _asks_person(fields: dict[str, Any], *required: str) -> Tool:
    async def ask(context: Context, params: Any) -> Any:
        schema = {"type": "object", "properties": fields, "required": list(required)}
        request = types.ElicitRequest(
            params=types.ElicitRequestFormParams(
                message=(params.arguments or {}).get("message", "Please fill this in"),
                requested_schema=schema,
            )
        )
        answer = await _asked(context, request, types.ElicitResult)
        said = f"action={answer.action}, content={json.dumps(answer.content)}"
        return _said(_text(f"Elicitation completed: {said}"))

    return ask


def _requires(**requests: Any) -> Tool:
    """A tool that wants these answered before it completes; unknown answers are ignored."""

    async def tool(context: Context, params: Any) -> Any:
        given = params.input_responses or {}
        missing = {name: one for name, one in requests.items() if not _answers(one, given, name)}
        if missing:
            return types.InputRequiredResult(input_requests=missing)
        return _said(_text(" ".join(_shown(given[name]) for name in requests)))

    return tool


def _requires_with_state(word: str, **requests: Any) -> Tool:
    async def tool(context: Context, params: Any) -> Any:
        given = params.input_responses or {}
        if params.request_state is None or any(
            not _answers(one, given, name) for name, one in requests.items()
        ):
            return types.InputRequiredResult(input_requests=requests, request_state="asked")
        if params.request_state != "asked":
            raise MCPError(types.INVALID_PARAMS, "this state is not ours")
        return _said(_text(word + " " + " ".join(_shown(given[name]) for name in requests)))

    return tool


async def _multi_round(context: Context, params: Any) -> Any:
    given, state = params.input_responses or {}, params.request_state
    if state == "first" and "step1" in given:
        form = _form("Step 2: What is your favorite color?", color="string")
        return types.InputRequiredResult(input_requests={"step2": form}, request_state="second")
    if state == "second" and "step2" in given:
        return _said(_text("Both steps are done."))
    form = _form("Step 1: What is your name?", name="string")
    return types.InputRequiredResult(input_requests={"step1": form}, request_state="first")


async def _capabilities(context: Context, params: Any) -> Any:
    if params.input_responses:
        return _said(_text("Answered."))
    can = context.session.client_capabilities
    wanted: dict[str, Any] = {}
    if can is not None and can.elicitation is not None:
        wanted["user_name"] = _form("What is your name?", name="string")
    if can is not None and can.sampling is not None:
        wanted["greeting"] = _sampling("Generate a greeting")
    if not wanted:
        return _said(_text("The client can be asked nothing."))
    return types.InputRequiredResult(input_requests=wanted)


async def _missing_capability(context: Context, params: Any) -> Any:
    can = context.session.client_capabilities
    if can is None or can.sampling is None:
        raise MCPError(
            types.MISSING_REQUIRED_CLIENT_CAPABILITY,
            "this tool needs a client that samples",
            {"requiredCapabilities": {"sampling": {}}},
        )
    return _said(_text("The client samples."))


async def _opted_logging(context: Context, params: Any) -> Any:
    """Since 2026-07-28 a log message is sent only to a request that asks for its level."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MCPDeprecationWarning)
        await context.session.send_log_message("info", "Only for who asked")
    return _said(_text("Logged for who asked."))


def _answers(request: Any, given: Mapping[str, Any], name: str) -> bool:
    kinds = {
        "elicitation/create": types.ElicitResult,
        "sampling/createMessage": types.CreateMessageResult | types.CreateMessageResultWithTools,
        "roots/list": types.ListRootsResult,
    }
    return isinstance(given.get(name), kinds[request.method])


def _shown(answer: Any) -> str:
    match answer:
        case types.ElicitResult(content=content):
            return f"Hello, {(content or {}).get('name', content)}!"
        case types.ListRootsResult(roots=roots):
            return ", ".join(str(root.uri) for root in roots)
        case _:
            return str(answer.content.text)


NOTHING: dict[str, Any] = {"type": "object", "properties": {}}


def _takes(*names: str) -> dict[str, Any]:
    fields = {name: {"type": "string"} for name in names}
    return {"type": "object", "properties": fields, "required": list(names)}


_NAME = _form("What is your name?", name="string")
_CONFIRM = types.ElicitRequest(
    params=types.ElicitRequestFormParams(
        message="Please confirm",
        requested_schema={
            "type": "object",
            "properties": {"ok": {"type": "boolean"}},
            "required": ["ok"],
        },
    )
)
_DEFAULTS = {
    "name": {"type": "string", "default": "John Doe"},
    "age": {"type": "integer", "default": 30},
    "score": {"type": "number", "default": 95.5},
    "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
    "verified": {"type": "boolean", "default": True},
}
_PLAIN = ["option1", "option2", "option3"]
_TITLED = [
    {"const": f"value{n}", "title": f"{word} Option"}
    for n, word in enumerate(("First", "Second", "Third"), 1)
]
_ENUMS = {
    "untitledSingle": {"type": "string", "enum": _PLAIN},
    "titledSingle": {"type": "string", "oneOf": _TITLED},
    "legacyEnum": {
        "type": "string",
        "enum": ["opt1", "opt2", "opt3"],
        "enumNames": ["Option One", "Option Two", "Option Three"],
    },
    "untitledMulti": {"type": "array", "items": {"type": "string", "enum": _PLAIN}},
    "titledMulti": {"type": "array", "items": {"anyOf": _TITLED}},
}
_PERSON = {
    "username": {"type": "string", "description": "User's response"},
    "email": {"type": "string", "description": "User's email address"},
}
_ROOTS = types.ListRootsRequest()
_KEYWORDS = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }
    },
    "properties": {
        "name": {"type": "string"},
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"},
        "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}

_AGAIN = "test_input_required_result"
TOOLS: Mapping[str, tuple[dict[str, Any], Tool]] = {
    "test_simple_text": (NOTHING, _simple_text),
    "test_image_content": (NOTHING, _image_content),
    "test_audio_content": (NOTHING, _audio_content),
    "test_embedded_resource": (NOTHING, _embedded_resource),
    "test_multiple_content_types": (NOTHING, _mixed),
    "test_tool_with_logging": (NOTHING, _logging),
    "test_tool_with_progress": (NOTHING, _progress),
    "test_error_handling": (NOTHING, _error),
    "test_logging_tool": (NOTHING, _opted_logging),
    "test_missing_capability": (NOTHING, _missing_capability),
    "test_streaming_elicitation": (NOTHING, _requires(user_name=_NAME)),
    "test_sampling": (_takes("prompt"), _ask_model),
    "test_elicitation": (_takes("message"), _asks_person(_PERSON, *_PERSON)),
    "test_elicitation_sep1034_defaults": (NOTHING, _asks_person(_DEFAULTS)),
    "test_elicitation_sep1330_enums": (NOTHING, _asks_person(_ENUMS)),
    "json_schema_2020_12_tool": (_KEYWORDS, _simple_text),
    f"{_AGAIN}_elicitation": (NOTHING, _requires(user_name=_NAME)),
    f"{_AGAIN}_sampling": (
        NOTHING,
        _requires(capital_question=_sampling("What is the capital of France?")),
    ),
    f"{_AGAIN}_list_roots": (NOTHING, _requires(client_roots=_ROOTS)),
    f"{_AGAIN}_request_state": (NOTHING, _requires_with_state("state-ok", confirm=_CONFIRM)),
    f"{_AGAIN}_tampered_state": (NOTHING, _requires_with_state("state-ok", confirm=_CONFIRM)),
    f"{_AGAIN}_multiple_inputs": (
        NOTHING,
        _requires_with_state(
            "all",
            user_name=_NAME,
            greeting=_sampling("Generate a greeting", 50),
            client_roots=_ROOTS,
        ),
    ),
    f"{_AGAIN}_multi_round": (NOTHING, _multi_round),
    f"{_AGAIN}_capabilities": (NOTHING, _capabilities),
}
