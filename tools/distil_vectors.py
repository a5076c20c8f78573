"""Distil a sentence encoder (ONNX) into static word vectors: ``src/ifmem/index/words.npz``.

    python tools/distil_vectors.py teach CORPUS WORK --model M --tokenizer T --wordnet DIR
    python tools/distil_vectors.py fit   CORPUS WORK --out words.npz

``teach`` chooses the vocabulary (the teacher's ASCII wordpieces, then frequent whole words that it
would cut up) and runs the teacher on each entry alone and on each text; ``--part 0/2`` and
``--part 1/2`` in two processes, each resumable. ``fit`` starts from the projected vectors of the
entries, each weighted by how rare it is, then trains them so that the sum over a text points where
the teacher's vector of the text points. Needs numpy and tokenizers; ``teach`` onnxruntime, ``fit``
torch. ``tools/distil_corpus.py`` writes the texts.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ifmem.index.encoder import WORD

Matrix = NDArray[np.float32]

_SHARD = 10_000
"""Texts the teacher encodes between two saves."""
_LONGEST_PIECE = 24
_LONGEST_TEXT = 56
"""Wordpieces of a text that the teacher reads."""
_RARITY = 1e-3
"""Weight of an entry is this over this plus its share of all words."""
_HELD_OUT = 2_000


def read_texts(path: Path) -> list[str]:
    """The lines of the corpus."""
    return path.read_text(encoding="utf-8").rstrip("\n").split("\n")


def choose_vocabulary(
    texts: Sequence[str], pieces: Mapping[str, int], wordnet: Path, size: int
) -> list[str]:
    """The teacher's ASCII pieces, then whole words by frequency, dictionary words first."""
    kept = [piece for piece in pieces if re.fullmatch(r"(##)?[a-z]+|(##)?[0-9]{1,4}", piece)]
    kept.sort(key=lambda piece: pieces[piece])
    times = Counter(word for text in texts for word in re.findall(r"[a-z]+", text.lower()))
    listed = list(_lemmas(wordnet))
    times.update(listed)
    lemmas, known = set(listed), set(kept)
    further = [
        word
        for word, count in times.items()
        if count >= 2 and 2 < len(word) <= _LONGEST_PIECE and word not in known
    ]
    further.sort(key=lambda word: (-(times[word] + 3 * (word in lemmas)), word))
    return kept + further[: size - len(kept)]


def _lemmas(wordnet: Path) -> Iterator[str]:
    for part in ("noun", "verb", "adj", "adv"):
        for line in (wordnet / f"index.{part}").read_text(encoding="utf-8").splitlines():
            word = line.partition(" ")[0]
            if re.fullmatch("[a-z]{3,}", word):
                yield word


class Teacher:
    """The sentence encoder: mean-pooled unit vectors."""

    def __init__(self, model: Path, tokenizer: Path) -> None:
        onnxruntime: Any = import_module("onnxruntime")
        tokenizers: Any = import_module("tokenizers")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            str(model), options, providers=["CPUExecutionProvider"]
        )
        self._inputs = [one.name for one in self._session.get_inputs()]
        self._tokenizer = tokenizers.Tokenizer.from_file(str(tokenizer))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(_LONGEST_TEXT)
        self.pieces: dict[str, int] = self._tokenizer.get_vocab()

    def entry(self, word: str) -> list[int]:
        """The ids of an entry of the vocabulary alone; a piece stays one piece."""
        if word in self.pieces:
            return [self.pieces["[CLS]"], self.pieces[word], self.pieces["[SEP]"]]
        return self.ids([word])[0]

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of texts."""
        return [one.ids for one in self._tokenizer.encode_batch(list(texts))]

    def vectors(self, ids: Sequence[list[int]], batch: int = 8) -> Matrix:
        """A unit vector each. Only equal lengths share a batch, so that nothing is padded."""
        order = sorted(range(len(ids)), key=lambda one: len(ids[one]))
        rows: list[Matrix] = [np.zeros(0, np.float32)] * len(ids)
        for group in _of_one_length(order, ids, batch):
            given = np.array([ids[one] for one in group], np.int64)
            feed = {
                "input_ids": given,
                "attention_mask": np.ones_like(given),
                "token_type_ids": np.zeros_like(given),
            }
            said = self._session.run(None, {name: feed[name] for name in self._inputs})[0]
            for place, row in zip(group, unit(said.mean(1)), strict=True):
                rows[place] = row
        return np.array(rows, np.float32)


def _of_one_length(
    order: Sequence[int], ids: Sequence[list[int]], batch: int
) -> Iterator[list[int]]:
    group: list[int] = []
    for one in order:
        if group and (len(group) == batch or len(ids[group[0]]) != len(ids[one])):
            yield group
            group = []
        group.append(one)
    if group:
        yield group


def teach(given: argparse.Namespace) -> None:
    """Save what the teacher says about the vocabulary and about this part of the texts."""
    part, parts = map(int, given.part.split("/"))
    texts = read_texts(given.corpus)
    teacher = Teacher(given.model, given.tokenizer)
    given.work.mkdir(parents=True, exist_ok=True)
    if part == 0:
        words = choose_vocabulary(texts, teacher.pieces, given.wordnet, given.size)
        (given.work / "vocabulary.json").write_text(json.dumps(words), encoding="utf-8")
        entries = teacher.vectors([teacher.entry(word) for word in words], batch=16)
        _save(given.work / "entries.npy", entries)
    for number in range(part, -(-min(len(texts), given.texts) // _SHARD), parts):
        path = given.work / f"texts_{number:03d}.npy"
        if not path.exists():
            ids = teacher.ids(texts[number * _SHARD : (number + 1) * _SHARD])
            _save(path, teacher.vectors(ids).astype(np.float16))


def _save(path: Path, array: NDArray[Any]) -> None:
    draft = path.with_suffix(".draft.npy")
    np.save(draft, array)
    draft.replace(path)


class Pieces:
    """Texts as rows of the vocabulary: whole words where it has them, else its longest pieces."""

    def __init__(self, words: Sequence[str]) -> None:
        self._rows = {word: row for row, word in enumerate(words)}
        self._known: dict[str, list[int]] = {}

    def of_text(self, text: str) -> list[int]:
        """The rows of all words of a text."""
        return [row for word in WORD.findall(text) for row in self.of_word(word.lower())]

    def of_word(self, word: str) -> list[int]:
        """The rows of one lower-case word; letters in no piece are passed over."""
        if word not in self._known:
            self._known[word] = self._cut(word)
        return self._known[word]

    def _cut(self, word: str) -> list[int]:
        if word in self._rows:
            return [self._rows[word]]
        found: list[int] = []
        start = 0
        while start < len(word):
            for end in range(min(len(word), start + _LONGEST_PIECE), start, -1):
                row = self._rows.get(("##" if start else "") + word[start:end])
                if row is not None:
                    found.append(row)
                    start = end
                    break
            else:
                start += 1
        return found


def fit(given: argparse.Namespace) -> None:
    """Train the rows of the vocabulary and write them as int8 with a scale each."""
    words = json.loads((given.work / "vocabulary.json").read_text(encoding="utf-8"))
    pieces, texts = Pieces(words), read_texts(given.corpus)
    entries = np.load(given.work / "entries.npy")
    bags, taught = [], []
    for path in sorted(given.work.glob("texts_*.npy")):
        first = int(path.stem.removeprefix("texts_")) * _SHARD
        taught.append(np.load(path).astype(np.float32))
        bags += [pieces.of_text(text) for text in texts[first : first + _SHARD]]
    teacher = np.concatenate(taught)
    axes = _principal_axes(teacher, given.dimensions)
    start = _start(entries, axes, bags)
    # Every entry alone is a text too: that anchors the rare ones.
    bags += [[row] for row in range(len(words))]
    target = np.concatenate([unit(teacher @ axes), unit(entries @ axes)]).astype(np.float32)
    _write(given.out, words, _trained(start, bags, target, given))


def _principal_axes(vectors: Matrix, dimensions: int) -> Matrix:
    """The directions in which the teacher's texts differ most, in that order."""
    _, axes = np.linalg.eigh(vectors.T @ vectors)
    leading: Matrix = axes[:, ::-1][:, :dimensions]
    return leading


def _start(entries: Matrix, axes: Matrix, bags: Sequence[list[int]]) -> Matrix:
    rows = np.fromiter((row for bag in bags for row in bag), np.int64)
    times = np.bincount(rows, minlength=len(entries))
    share = (times + 1) / (times.sum() + len(entries))
    centred = unit((entries - entries.mean(0)) @ axes)
    weighted: Matrix = centred * (_RARITY / (_RARITY + share))[:, None]
    return weighted


def _trained(
    start: Matrix, bags: Sequence[list[int]], target: Matrix, given: argparse.Namespace
) -> Matrix:
    torch: Any = import_module("torch")
    torch.set_num_threads(given.threads)
    chance = np.random.default_rng(given.seed)
    rows = torch.nn.Parameter(torch.tensor(start, dtype=torch.float32))
    adam, goal = torch.optim.Adam([rows], lr=given.rate), torch.tensor(target)
    filled = np.array([number for number, bag in enumerate(bags) if bag])
    held, train = filled[:_HELD_OUT], filled[_HELD_OUT:]

    def cosine(batch: NDArray[np.int64]) -> Any:
        flat = [row for number in batch for row in bags[number]]
        sizes = np.array([len(bags[number]) for number in batch])
        offsets = torch.tensor(np.concatenate(([0], np.cumsum(sizes)[:-1])))
        sums = torch.nn.functional.embedding_bag(torch.tensor(flat), rows, offsets, mode="sum")
        return (torch.nn.functional.normalize(sums, dim=1) * goal[batch]).sum(1)

    batches = len(train) // given.batch
    for epoch in range(given.epochs):
        chance.shuffle(train)
        for number in range(batches):
            done = (epoch * batches + number) / (given.epochs * batches)
            adam.param_groups[0]["lr"] = given.rate * max(0.03, 1 - done)
            adam.zero_grad()
            loss = 1 - cosine(train[number * given.batch : (number + 1) * given.batch]).mean()
            loss.backward()
            adam.step()
        with torch.no_grad():
            sys.stderr.write(f"epoch {epoch}: held-out cosine {float(cosine(held).mean()):.4f}\n")
    result: Matrix = rows.detach().numpy()
    return result


def _write(path: Path, words: Sequence[str], rows: Matrix) -> None:
    scale = np.maximum(np.abs(rows).max(1), 1e-6) / 127
    np.savez_compressed(
        path,
        rows=np.round(rows / scale[:, None]).astype(np.int8),
        scale=scale.astype(np.float16),
        vocab=np.frombuffer("\n".join(words).encode(), np.uint8),
    )


def unit(vectors: Matrix) -> Matrix:
    """The vectors at length 1."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: Matrix = vectors / np.maximum(lengths, np.float32(1e-9))
    return scaled


def main() -> None:
    """Run one of the two steps."""
    parser = argparse.ArgumentParser(description="Distil a sentence encoder into word vectors.")
    steps = parser.add_subparsers(required=True)
    for step in (teach, fit):
        one = steps.add_parser(step.__name__)
        one.set_defaults(run=step)
        one.add_argument("corpus", type=Path)
        one.add_argument("work", type=Path)
        if step is teach:
            for name in ("--model", "--tokenizer", "--wordnet"):
                one.add_argument(name, type=Path, required=True)
            one.add_argument("--size", type=int, default=46_000)
            one.add_argument("--part", default="0/1")
            one.add_argument("--texts", type=int, default=100_000)
        else:
            one.add_argument("--out", type=Path, required=True)
            one.add_argument("--dimensions", type=int, default=256)
            one.add_argument("--epochs", type=int, default=4)
            one.add_argument("--rate", type=float, default=2e-3)
            one.add_argument("--batch", type=int, default=512)
            one.add_argument("--threads", type=int, default=1)
            one.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    given.run(given)


if __name__ == "__main__":
    main()
