"""A shared memory for LLM agents: load a corpus, ask it, and check every answer.

Example:
    from ifmem import Memory

    async with Memory.open() as memory:
        await memory.load("src/")
        print((await memory.ask("Where is the retry budget enforced?")).text)
"""

from __future__ import annotations

# As in `typing`, which takes longer to import than all that a hook of an agent does.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from ifmem.client.blocking import BlockingMemory
    from ifmem.client.leased_task import LeasedTask
    from ifmem.client.memory import Memory
    from ifmem.client.overview import Progress
    from ifmem.client.worker import Worker
    from ifmem.domain.task import Task
    from ifmem.errors import (
        BudgetExceeded,
        ConfigError,
        ContextOverflow,
        Failed,
        IfMemError,
        IntegrityError,
        Invalid,
        NotFound,
        NotPermitted,
        OutcomeUnknown,
        QuotaExhausted,
        RateLimited,
        Refused,
        Unavailable,
    )
    from ifmem.settings import Settings
    from ifmem.wire.answers import Answer
    from ifmem.wire.shapes import (
        FindingLine,
        Forgotten,
        LoadReport,
        Page,
        Recall,
        Remembered,
        Status,
    )

__all__ = [
    "Answer",
    "BlockingMemory",
    "BudgetExceeded",
    "ConfigError",
    "ContextOverflow",
    "Failed",
    "FindingLine",
    "Forgotten",
    "IfMemError",
    "IntegrityError",
    "Invalid",
    "LeasedTask",
    "LoadReport",
    "Memory",
    "NotFound",
    "NotPermitted",
    "OutcomeUnknown",
    "Page",
    "Progress",
    "QuotaExhausted",
    "RateLimited",
    "Recall",
    "Refused",
    "Remembered",
    "Settings",
    "Status",
    "Task",
    "Unavailable",
    "Worker",
]

_HOMES = {
    "Answer": "ifmem.wire.answers",
    "BlockingMemory": "ifmem.client.blocking",
    "LeasedTask": "ifmem.client.leased_task",
    "Memory": "ifmem.client.memory",
    "Progress": "ifmem.client.overview",
    "Settings": "ifmem.settings",
    "Task": "ifmem.domain.task",
    "Worker": "ifmem.client.worker",
    **dict.fromkeys(
        (
            "FindingLine",
            "Forgotten",
            "LoadReport",
            "Page",
            "Recall",
            "Remembered",
            "Status",
        ),
        "ifmem.wire.shapes",
    ),
}
"""Where each public name lives; the errors are what is not listed."""


def __getattr__(name: str) -> object:
    # Importing the package costs next to nothing: the command line and hooks start in no time.
    if name == "__version__":
        from importlib import metadata

        return metadata.version("ifmem")
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES.get(name, "ifmem.errors")), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
