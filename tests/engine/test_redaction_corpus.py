"""No fake secret of the corpus is readable after masking, and look-alikes stay as they are."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

from ifmem.engine.masking import mask, mask_values

sys.path.insert(0, str(Path(__file__).parent))

from look_alikes import LOOK_ALIKES, look_alikes
from redaction_corpus import secrets

SEEDS = range(5)
EACH = 100
MOST_FALSE = 0.01


def test_the_corpus_is_as_large_as_it_says() -> None:
    shapes = {one.shape for one in secrets(0)}
    assert len(shapes) >= 80
    assert len({one.text for seed in SEEDS for one in secrets(seed)}) >= 3_000
    assert len(LOOK_ALIKES) >= 90
    assert len({text for _, text in look_alikes(0, EACH)}) >= 8_000


def test_no_secret_of_the_corpus_is_readable_afterwards() -> None:
    leaks = Counter(
        one.shape for seed in SEEDS for one in secrets(seed) if one.hidden in mask(one.text).text
    )
    assert leaks == {}


def test_no_secret_of_the_corpus_is_readable_in_a_structure_which_stays_json() -> None:
    for one in secrets(7):
        masked, count = mask_values({"notes": [one.text], one.text: 1})
        assert count >= 2, one.shape
        assert one.hidden not in json.dumps(masked), one.shape


def test_masking_the_corpus_keeps_lines_and_is_done_once() -> None:
    for one in secrets(3):
        once = mask(one.text).text
        assert once.count("\n") == one.text.count("\n")
        assert mask(once).count == 0, one.shape


def test_what_only_looks_like_a_secret_is_left_as_it_is() -> None:
    some = list(look_alikes(11, EACH))
    changed = Counter(kind for kind, text in some if mask(text).count)
    assert changed.total() <= MOST_FALSE * len(some), changed
    # No kind is a false hit by rule: what is left are accidents.
    assert max(changed.values(), default=0) <= EACH // 5, changed
