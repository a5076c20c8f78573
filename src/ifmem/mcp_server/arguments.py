"""What the tools take: names, types and defaults of the contract, each said in a sentence."""

from __future__ import annotations

import json
import re
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from ifmem.errors import Invalid

MOST_TOKENS = 50_000

Few = Annotated[int, Meta(ge=1, le=500)]
Share = Annotated[float, Meta(ge=0, le=1)]

Lines = Annotated[list[int], Meta(min_length=2, max_length=2)]


class CitedSource(msgspec.Struct, frozen=True):
    """A place that supports a claim; further fields are ignored."""

    source: Annotated[
        str, Meta(description="A path, a URL, `chat:ID` or `finding:UUID`, as `recall` gave it.")
    ]
    lines: Annotated[Lines | None, Meta(description="First and last line, counted from 1.")] = None
    quote: Annotated[
        str, Meta(description="Word for word from the source; by default what the lines say.")
    ] = ""
    locator: Annotated[str | None, Meta(description="A place where lines mean little.")] = None


Citations = Annotated[
    list[str | CitedSource],
    Meta(
        description="What supports the claim: `SOURCE:LINE`, `SOURCE:FIRST-LAST`, `finding:UUID`, "
        "a URL, or an object. Each quote is looked up in the source.",
        max_length=100,
    ),
]
Texts = Annotated[list[str], Meta(max_length=100)]
MaxTokens = Annotated[
    int,
    Meta(
        description="The reply has at most so many o200k tokens; what did not fit is counted in "
        "`omitted`.",
        ge=1,
        le=MOST_TOKENS,
    ),
]
Sources = Annotated[
    str | Texts | None,
    Meta(description="Only from these: a path with all below it, a URL, or a pattern with `*`."),
]
Group = Annotated[str | None, Meta(description="Only documents or findings of this group.")]
Since = Annotated[
    str | None, Meta(description="Nothing before this date or time (ISO-8601; UTC if no zone).")
]
TaskId = Annotated[str, Meta(description="The task's id.")]
Fence = Annotated[str, Meta(description="As `task_claim` gave it.")]
Lease = Annotated[
    float, Meta(description="Seconds from now during which the task is yours.", gt=0, le=86_400)
]
Reason = Annotated[str | None, Meta(description="Why, for whoever comes next.")]


class Arguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What any tool takes."""


class RecallArguments(Arguments, frozen=True):
    query: Annotated[str, Meta(description="What you want to know, in a few words.")]
    max_tokens: MaxTokens = 2000
    limit: Annotated[Few | None, Meta(description="At most so many passages and findings.")] = None
    source: Sources = None
    group: Group = None
    since: Since = None
    scope: Annotated[
        Literal["project", "space"] | None,
        Meta(
            description="`project`: documents of this project and all findings; `space`: "
            "everything. By default the project where there is one."
        ),
    ] = None


class AskArguments(Arguments, frozen=True):
    question: Annotated[str, Meta(description="A question in plain words.")]
    max_tokens: MaxTokens = 4000
    max_cost: Annotated[
        float | str | None,
        Meta(description="US dollars it may cost, like 0.25; never above the user's own limit."),
    ] = None


class RememberArguments(Arguments, frozen=True):
    claim: Annotated[str, Meta(description="What you found out, in a sentence that stands alone.")]
    citations: Citations = []
    confidence: Annotated[Share | None, Meta(description="0 to 1; by default 1.")] = None
    topic: Annotated[str | None, Meta(description="What it is about.")] = None
    tags: Annotated[Texts | None, Meta(description="Words to find it by.")] = None
    id: Annotated[
        str | None, Meta(description="A new lower-case uuid; repeating it stores the claim once.")
    ] = None


class LoadArguments(Arguments, frozen=True):
    paths: Annotated[
        Texts | None, Meta(description="Files and folders to read, inside the permitted roots.")
    ] = None
    text: Annotated[
        str | None, Meta(description="A text to store, instead of paths; needs `source`.")
    ] = None
    source: Annotated[
        str | None,
        Meta(description="Names the text: a URL or `chat:ID`. The same source replaces its text."),
    ] = None


class ChangesArguments(Arguments, frozen=True):
    cursor: Annotated[
        str | None,
        Meta(description="The `cursor` of your last call; without it from the beginning."),
    ] = None
    limit: Annotated[
        Few | None,
        Meta(description="At most so many findings; by default 50."),
    ] = None
    source: Sources = None
    group: Group = None
    author: Annotated[str | None, Meta(description="Only findings of this agent.")] = None
    since: Since = None
    until: Annotated[str | None, Meta(description="Nothing after this date or time.")] = None


class TaskPostArguments(Arguments, frozen=True):
    title: Annotated[str, Meta(description="What is to be done, in a line.")]
    data: Annotated[
        dict[str, Any] | None, Meta(description="What whoever does it needs to know.")
    ] = None
    priority: Annotated[int, Meta(description="10 is claimed first, 0 last.", ge=0, le=10)] = 5
    depends_on: Annotated[Texts, Meta(description="Ids of tasks that must be done before.")] = []
    idempotency_key: Annotated[
        str | None, Meta(description="Posting the same key again gives the same task.")
    ] = None


class TaskClaimArguments(Arguments, frozen=True):
    lease_seconds: Lease = 600


class TaskRenewArguments(Arguments, frozen=True):
    task_id: TaskId
    fence: Fence
    lease_seconds: Lease = 600


class TaskReleaseArguments(Arguments, frozen=True):
    task_id: TaskId
    fence: Fence
    assist: Annotated[
        bool, Meta(description="Ask for assistance: the task waits until somebody helps.")
    ] = False
    reason: Reason = None


class TaskCancelArguments(Arguments, frozen=True):
    task_id: TaskId
    reason: Reason = None


class TaskFinishArguments(Arguments, frozen=True):
    task_id: TaskId
    fence: Fence
    outcome: Annotated[
        Literal["done", "failed"], Meta(description="`failed` is tried again while attempts last.")
    ] = "done"
    claim: Annotated[
        str | None, Meta(description="What was found: stored as a finding in the same step.")
    ] = None
    citations: Citations = []
    reason: Annotated[str | None, Meta(description="Why it failed.")] = None


class ForgetArguments(Arguments, frozen=True):
    id: Annotated[
        str, Meta(description="Of a finding or a passage, or a document's source, as recalled.")
    ]


class StatusArguments(Arguments, frozen=True):
    """None."""


def decoded(kind: type[Arguments], arguments: dict[str, Any]) -> Any:
    """The arguments of a call.

    Raises:
        Invalid: one is missing, unknown, or of another type or range; the message names it.
    """
    try:
        # A lone surrogate is no text: neither the store nor the answer could hold it. And what is
        # no number, or none that is finite, would be stored as null.
        json.dumps(arguments, ensure_ascii=False, allow_nan=False).encode()
        return msgspec.convert(arguments, kind)
    except msgspec.ValidationError as error:
        what, place = _PLACE.match(str(error)).groups()  # type: ignore[union-attr]
        field = place or next(iter(_FIELD.findall(what)), "")
        said = f"`{field}`: {what}" if place else what
        raise Invalid(f"{said}: see the tool's input schema", field=field) from error
    except UnicodeEncodeError as error:
        raise Invalid("an argument holds half of a character: send whole Unicode text") from error
    except ValueError as error:
        raise Invalid("an argument holds a number that is not finite: JSON has none") from error


_PLACE = re.compile(r"(.*?)(?: - at `\$\.?(.*)`)?\Z", re.DOTALL)
_FIELD = re.compile(r"field `(.+?)`")
