"""What every test runs under."""

from __future__ import annotations

import os
import select
from collections.abc import Callable

import pytest

PATIENCE_S = 60.0


def pytest_configure(config: pytest.Config) -> None:
    # The tokeniser opens its vocabulary with a function that Python 3.11 and 3.12 deprecate and
    # 3.13 took back into favour.
    config.addinivalue_line("filterwarnings", "ignore:open_binary is deprecated:DeprecationWarning")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # Whole files are handed to the processes that run them, in this order: the longest first, so
    # that none is left alone with one at the end.
    items.sort(key=lambda item: _LONGEST.get(item.path.name, len(_LONGEST) + _is_short(item)))


_LONGEST = {
    name: place
    for place, name in enumerate(
        (
            "test_kill.py",
            "test_model_contract.py",
            "test_ask_models.py",
            "test_guarantees.py",
            "test_bad_input.py",
            "test_task_board.py",
            "test_follow.py",
            "test_client_role.py",
            "test_worker.py",
            "test_pages_run.py",
            "test_cli_end_to_end.py",
            "test_bench_durability.py",
        )
    )
}


def _is_short(item: pytest.Item) -> bool:
    return item.path.parent.name not in _LONG_FOLDERS


_LONG_FOLDERS = {"system", "mcp_server", "benchmarks", "entrypoints", "llm", "docs"}


@pytest.fixture
def watch_end() -> Callable[[int], Callable[[], bool]]:
    """For a process alive now: a question that waits until it is gone."""

    def watch(pid: int) -> Callable[[], bool]:
        descriptor = os.pidfd_open(pid)

        def is_gone() -> bool:
            try:
                return bool(select.select([descriptor], [], [], PATIENCE_S)[0])
            finally:
                os.close(descriptor)

        return is_gone

    return watch
