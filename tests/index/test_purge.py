"""Purging: nothing is kept of what was removed, and what is left is found as before."""

from __future__ import annotations

import threading
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from ifmem.index.snapshot import read_snapshot, remove_snapshot, write_snapshot
from ifmem.index.space_index import Row, SpaceIndex

NUMBERS = st.sets(st.integers(1, 30))


def filled() -> SpaceIndex:
    index = SpaceIndex()
    for number in range(1, 31):
        text = f"lantern{number:02} hangs by the quay of town{number % 3}"
        index.add_finding(Row(-number, 0, 4, None, f"author{number:02}", None), text, "")
    return index


def bytes_of(index: SpaceIndex) -> bytes:
    return b"".join(array.tobytes() for array in index.arrays().values())


@settings(deadline=None, max_examples=30)
@given(removed=NUMBERS)
def test_no_word_and_no_author_of_what_was_removed_is_left(removed: set[int]) -> None:
    index = filled()
    index.remove(-number for number in removed)
    index.purge()
    held = bytes_of(index)
    for number in range(1, 31):
        is_left = number not in removed
        assert (f"lantern{number:02}".encode() in held) == is_left
        assert (f"author{number:02}".encode() in held) == is_left


@settings(deadline=None, max_examples=30)
@given(removed=NUMBERS, question=st.sampled_from(["lantern07", "quay", "town1 quay"]))
def test_what_is_left_ranks_as_if_the_rest_had_never_been_there(
    removed: set[int], question: str
) -> None:
    index, alone = filled(), SpaceIndex()
    index.remove(-number for number in removed)
    index.purge()
    for number in sorted(set(range(1, 31)) - removed):
        text = f"lantern{number:02} hangs by the quay of town{number % 3}"
        alone.add_finding(Row(-number, 0, 4, None, None, None), text, "")
    found = [(hit.key, round(hit.score, 4)) for hit in index.search(question, limit=10)]
    assert found == [(hit.key, round(hit.score, 4)) for hit in alone.search(question, limit=10)]


def test_what_is_added_after_a_purge_is_found_and_purged_like_the_rest() -> None:
    index = filled()
    index.remove([-3])
    index.purge()
    index.add_finding(Row(-31, 0, 4, None, None, None), "trombone", "")
    assert [hit.key for hit in index.search("trombone", limit=1)] == [-31]
    index.remove([-31])
    index.purge()
    assert b"trombone" not in bytes_of(index)


def test_the_vectors_of_what_was_removed_are_blank() -> None:
    index = filled()
    index.remove([-5])
    index.purge()
    arrays = index.arrays()
    assert not arrays["vectors"][arrays["owners"] == 4].any()
    assert arrays["vectors"][arrays["owners"] == 5].any()


def test_a_copy_on_disk_holds_nothing_of_what_was_removed(tmp_path: Path) -> None:
    index, path = filled(), tmp_path / "index.npz"
    index.remove([-9])
    write_snapshot(index, path)
    assert b"lantern09" not in path.read_bytes()
    assert b"lantern10" in path.read_bytes()
    kept = read_snapshot(path)
    assert kept is not None
    assert kept.keys() == index.keys()
    assert remove_snapshot(path)
    assert not remove_snapshot(path)
    assert list(tmp_path.iterdir()) == []


def test_a_copy_that_is_being_written_is_removed_as_well(tmp_path: Path) -> None:
    path = tmp_path / "index.npz"
    taken, go_on = threading.Event(), threading.Event()

    class Slow(SpaceIndex):
        def purge(self) -> None:
            taken.set()
            assert go_on.wait(30)

    writer = threading.Thread(target=write_snapshot, args=(Slow(), path))
    writer.start()
    assert taken.wait(30)
    remover = threading.Thread(target=remove_snapshot, args=(path,))
    remover.start()
    go_on.set()
    writer.join(30)
    remover.join(30)
    assert list(tmp_path.iterdir()) == []
