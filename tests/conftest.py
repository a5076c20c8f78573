"""What every test runs under."""

from __future__ import annotations

import pytest


def pytest_configure(config: pytest.Config) -> None:
    # The tokeniser opens its vocabulary with a function that Python 3.11 and 3.12 deprecate and
    # 3.13 took back into favour.
    config.addinivalue_line("filterwarnings", "ignore:open_binary is deprecated:DeprecationWarning")
