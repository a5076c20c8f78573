"""Names that stay as they are: one that looks like a credential is refused, and not repeated."""

from __future__ import annotations

import pytest

from ifmem.engine.harmless import require_harmless, require_harmless_names
from ifmem.errors import Invalid

FAKE = "gh" + "p_" + "aB3dE5gH7jK9mN1pQ2rS4tU6vW8xY0zAbC3d"


def test_a_name_is_given_back() -> None:
    assert require_harmless("ada-7", "worker") == "ada-7"
    require_harmless_names({"worker": "ada", "run": None, "roots": ("/a", "/b"), "count": 3})


@pytest.mark.parametrize(
    "fields", [{"worker": FAKE}, {"worker": "ada", "roots": ("/a", f"/b/{FAKE}")}]
)
def test_a_credential_is_refused_without_repeating_it(fields: dict[str, object]) -> None:
    with pytest.raises(Invalid) as caught:
        require_harmless_names(fields)
    assert FAKE not in f"{caught.value.message} {caught.value.facts}"
    assert caught.value.facts["field"] == list(fields)[-1]
