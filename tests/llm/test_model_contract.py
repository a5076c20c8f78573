"""The contract of language models, on every adapter that has a ``subject_*.py`` beside this."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

HERE = Path(__file__).parent


def imported(path: Path) -> ModuleType:
    """A module of this folder, which is no package; the subjects import the contract by name."""
    if path.stem in sys.modules:
        return sys.modules[path.stem]
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


contract = imported(HERE / "model_contract.py")
SUBJECTS = [imported(path).SUBJECT for path in sorted(HERE.glob("subject_*.py"))]


@pytest.mark.parametrize("subject", SUBJECTS, ids=lambda subject: subject.name)
@pytest.mark.parametrize("law", contract.LAWS, ids=lambda law: law.name)
def test_every_adapter_keeps(law, subject) -> None:  # type: ignore[no-untyped-def]
    if subject.unavailable:
        pytest.skip(f"{subject.name} cannot run here: {subject.unavailable}")
    lacking = law.needs & subject.lacks
    if lacking:
        pytest.skip(f"{subject.name} declares that it lacks {', '.join(sorted(lacking))}")
    asyncio.run(law.check(subject))


def test_there_are_subjects_and_their_names_differ() -> None:
    names = [subject.name for subject in SUBJECTS]
    assert names and len(names) == len(frozenset(names))
