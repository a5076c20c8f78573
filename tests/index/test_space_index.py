"""The index of a space: fresh writes are found, removed ones are not, filters see only theirs."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterable, Iterator

import pytest

from ifmem.domain.passage import Passage
from ifmem.index import vectors
from ifmem.index.space_index import Hit, Row, SpaceIndex, Wanted

MakePassage = Callable[..., Passage]


@pytest.fixture
def passage() -> MakePassage:
    """Makes passages with ids 1, 2, 3 …"""
    ids: Iterator[int] = itertools.count(1)

    def make(
        text: str,
        *,
        content: int = 1,
        shard: int = 1,
        speaker: str | None = None,
        header: str = "",
        title: str = "",
        group: str | None = None,
        said_at: str | None = None,
    ) -> Passage:
        number = next(ids)
        return Passage(
            passage_id=number,
            content_id=content,
            ordinal=number,
            sha256="0" * 64,
            shard=shard,
            source="/src/a.md",
            title=title,
            kind="chat" if speaker else "prose",
            group=group,
            first_line=1,
            last_line=1,
            tokens=5,
            header=header,
            speaker=speaker,
            said_at=said_at,
            locator=None,
            text=text,
        )

    return make


def finding(key: int, author: str = "ada") -> Row:
    return Row(key=key, content_id=0, shard=4, group=None, author=author, said_at="2026-01-02")


def best(index: SpaceIndex, question: str, **options: object) -> list[int]:
    return [hit.key for hit in hits(index, question, **options)]


def hits(index: SpaceIndex, question: str, **options: object) -> list[Hit]:
    return index.search(question, **{"limit": 50} | options)  # type: ignore[arg-type]


def by_words(index: SpaceIndex, question: str, **options: object) -> list[int]:
    """Those that hold a word of the question."""
    return [hit.key for hit in hits(index, question, **options) if hit.lexical > 0]


def test_an_empty_index_answers_with_nothing() -> None:
    index = SpaceIndex()
    assert (len(index), best(index, "anything at all")) == (0, [])
    assert not index.occurs("anyth")


def test_a_fresh_passage_is_found_at_once(passage: MakePassage) -> None:
    index = SpaceIndex()
    index.add([passage("The retry budget is three."), passage("Trees are green.")])
    assert best(index, "retry budget")[0] == 1
    index.add([passage("Zebras sleep standing.", content=2)])
    assert best(index, "where do zebras sleep")[0] == 3
    assert len(index) == 3


def test_a_fresh_finding_is_found_beside_the_passages(passage: MakePassage) -> None:
    index = SpaceIndex()
    index.add([passage("Trees are green.")])
    index.add_finding(finding(-7), "Zebras sleep standing.", "animals")
    (hit, *_) = hits(index, "zebras")
    assert (hit.key, hit.shard) == (-7, 4)


def test_a_question_without_a_word_of_its_own_finds_nothing(passage: MakePassage) -> None:
    index = SpaceIndex()
    index.add([passage("The retry budget is three.")])
    assert best(index, "") == best(index, "what is that?") == []


def test_words_of_the_path_the_header_and_the_date_find_a_passage(passage: MakePassage) -> None:
    index = SpaceIndex()
    index.add([passage("It is three.", title="src/limits.py", header="RetryPolicy > budget")])
    index.add([passage("Good morning", speaker="ada", said_at="2023-05-08", content=2)])
    index.add([passage("Nothing to see.", content=3)])
    assert by_words(index, "limits") == by_words(index, "retry_policy") == [1]
    assert by_words(index, "what was said in May 2023") == [2]


def test_what_was_removed_is_not_found_and_the_rest_is(passage: MakePassage) -> None:
    index = SpaceIndex()
    index.add([passage("The retry budget is three."), passage("The retry budget is four.")])
    index.add_finding(finding(-1), "The retry budget is five.", "")
    index.remove([1, -1, 999])
    assert best(index, "retry budget") == [2]
    assert len(index) == 1
    assert best(index, "retry budget", where=lambda _: True) == [2]


def test_a_removed_turn_is_not_brought_back_by_its_neighbours(passage: MakePassage) -> None:
    index = SpaceIndex()
    index.add([passage(text, speaker="ada") for text in ("Hello", "Zebras sleep", "Goodbye")])
    index.remove([1])
    assert best(index, "zebras sleep") == [2, 3]


def test_neighbours_lift_turns_of_a_chat(passage: MakePassage) -> None:
    index = SpaceIndex()
    index.add([passage(text, speaker="ada") for text in ("Hello", "Zebras sleep", "Goodbye")])
    found = {hit.key: hit for hit in hits(index, "zebras")}
    assert set(found) == {1, 2, 3}
    assert found[1].lexical == found[3].lexical == 0
    assert found[1].neighbour > 0 < found[3].neighbour


def test_neighbours_lift_no_prose_and_no_turn_of_another_chat(passage: MakePassage) -> None:
    index = SpaceIndex()
    index.add([passage(text) for text in ("Hello", "Zebras sleep", "Goodbye")])
    index.add([passage("Good evening", speaker="ada", content=2)])
    index.add([passage("Zebras wake", speaker="ada", content=3)])
    assert all(hit.neighbour == 0 for hit in hits(index, "zebras"))


@pytest.mark.parametrize("between", ["***", "Zebras sleep"])
def test_a_passage_that_is_no_turn_is_nobodys_neighbour(passage: MakePassage, between: str) -> None:
    index = SpaceIndex()
    turns = [passage("Zebras", speaker="ada"), passage(between), passage("Bye", speaker="bob")]
    index.add(turns)
    assert all(hit.neighbour == 0 for hit in hits(index, "zebras"))


def test_the_parts_of_a_score_sum_to_it(passage: MakePassage) -> None:
    index = SpaceIndex()
    texts = ("Zebras sleep standing", "Horses too", "Why do zebras sleep?", "Because of lions")
    index.add([passage(text, speaker="ada") for text in texts])
    found = hits(index, "where do zebras sleep")
    assert len(found) > 2
    for hit in found:
        assert hit.score == pytest.approx(hit.lexical + hit.vector + hit.neighbour)
    assert [hit.score for hit in found] == sorted((hit.score for hit in found), reverse=True)


def test_a_filter_leaves_only_what_it_allows(passage: MakePassage) -> None:
    index = SpaceIndex()
    for content, group in enumerate(("may", "june", "may"), 1):
        index.add([passage("Zebras sleep", content=content, group=group, speaker=group)])
    index.add_finding(finding(-1, "bob"), "Zebras sleep", "")
    assert sorted(best(index, "zebras", where=lambda row: row.group == "may")) == [1, 3]
    assert best(index, "zebras", where=lambda row: row.author == "bob") == [-1]
    assert best(index, "zebras", where=lambda row: row.key > 0 and row.content_id == 2) == [2]
    assert best(index, "zebras", where=lambda _: False) == []


def test_behind_a_filter_the_best_is_as_good_as_it_would_be_alone(passage: MakePassage) -> None:
    index = SpaceIndex()
    index.add([passage("Zebras sleep and zebras wake: zebras!", content=1)])
    index.add([passage("A zebra in a long tale of other animals", content=2)])
    (hit, *_) = hits(index, "zebras", where=lambda row: row.content_id == 2)
    (top, *_) = hits(index, "zebras")
    assert (top.key, hit.key) == (1, 2)
    assert hit.lexical > next(h for h in hits(index, "zebras") if h.key == 2).lexical


def test_a_neighbour_outside_the_filter_lends_nothing(passage: MakePassage) -> None:
    index = SpaceIndex()
    index.add([passage("Zebras sleep", speaker="ada"), passage("I see", speaker="bob")])
    assert best(index, "zebras") == [1, 2]
    bobs = hits(index, "zebras", where=lambda row: row.author == "bob")
    assert all(hit.neighbour == 0 == hit.lexical for hit in bobs)


def test_a_limit_keeps_the_best(passage: MakePassage) -> None:
    index = SpaceIndex()
    index.add([passage("Zebras " + "and more " * n, content=n) for n in range(20)])
    assert best(index, "zebras", limit=5) == best(index, "zebras")[:5]


def test_rare_terms_say_more_and_names_are_known_to_occur_or_not(passage: MakePassage) -> None:
    index = SpaceIndex()
    index.add([passage(f"The budget of Ada is {n}", content=n) for n in range(9)])
    index.add([passage("Zuse has a budget", content=9)])
    assert index.idf("zuse") > index.idf("ada") > 0
    assert index.occurs("zuse") and not index.occurs("lovelac")
    assert not index.occurs("zuse", where=lambda row: row.content_id < 9)


def test_a_reader_beside_a_writing_thread_is_never_wrong(passage: MakePassage) -> None:
    index, total = SpaceIndex(), 300
    chats = [
        [passage(f"Zebras sleep n{n}", speaker="ada", content=n), passage("I see", speaker="bob")]
        for n in range(total)
    ]
    stored: list[int] = [0]
    failures: list[BaseException] = []

    def read() -> None:
        try:
            while stored[-1] < total:
                least = stored[-1]
                found = hits(index, "zebras sleep", limit=10 * total)
                assert len([hit for hit in found if hit.lexical > 0]) >= least
                for hit in found:
                    assert hit.score == pytest.approx(hit.lexical + hit.vector + hit.neighbour)
        except BaseException as error:
            failures.append(error)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for n, chat in enumerate(chats, 1):
        index.add(chat)
        assert by_words(index, f"n{n - 1}", limit=1) == [chat[0].passage_id]
        stored.append(n)
    for reader in readers:
        reader.join()
    assert not failures


def test_an_index_read_from_its_arrays_answers_the_same_and_grows_on(passage: MakePassage) -> None:
    index = SpaceIndex()
    index.add([passage(text, speaker="ada") for text in ("Hello", "Zebras sleep", "Goodbye")])
    index.add_finding(finding(-1), "Zebras wake", "animals")
    index.remove([1])
    again = SpaceIndex.from_arrays({name: a.copy() for name, a in index.arrays().items()})
    fresh = passage("Zebras run", content=2)
    for one in (index, again):
        one.add([fresh])
    assert hits(again, "zebras") == hits(index, "zebras") != []
    assert again.keys() == index.keys() == {2, 3, 4, -1}


def test_questions_that_are_searched_together_find_what_each_finds_alone(
    passage: MakePassage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vectors, "CANDIDATES", 2)
    index = SpaceIndex()
    index.add([passage(f"The {animal} sleeps in the {place}.") for animal, place in ANIMALS])
    index.add([passage("Was it the otter?", content=2, speaker="ada")])
    index.remove([2])
    wanted = [
        Wanted("where does the otter sleep?", 3),
        Wanted("who sleeps?", 9, lambda row: row.key != 1),
        Wanted("swimming in water", 9),
        Wanted("trees", 9),
        Wanted("a bird on a farm", 9),
        Wanted("", 9),
    ]
    together = index.search_together(wanted)
    alone = [index.search(one.question, where=one.where, limit=one.limit) for one in wanted]
    for found, expected in zip(together, alone, strict=True):
        assert [hit.key for hit in found] == [hit.key for hit in expected]
        scores = [hit.score for hit in expected]
        assert [hit.score for hit in found] == pytest.approx(scores, rel=1e-5)
    assert len(together[0]) == 3
    assert 1 not in [hit.key for hit in together[1]]


ANIMALS = [("otter", "river"), ("fox", "forest"), ("owl", "barn"), ("mole", "meadow")]


def test_findings_copied_from_one_index_to_another_rank_as_if_they_were_read_there() -> None:
    words = ("lamp", "fire", "oil")
    claims = [f"The {word} of Trebic burns till {n}." for n, word in enumerate(words)]

    def filled(numbers: Iterable[int], index: SpaceIndex) -> SpaceIndex:
        for n in numbers:
            row = Row(-n - 1, 0, 0, None, f"author {n}", None)
            index.add_finding(row, claims[n], "")
        return index

    live, archive = filled(range(3), SpaceIndex()), filled([0], SpaceIndex())
    assert archive.copy_findings(live, [-1, -2, -3, -9], shard=0) == {-1, -2, -3}
    expected = filled(range(3), SpaceIndex())
    for question in ("lamp of Trebic", "what burns", "oil till 2"):
        assert archive.search(question, limit=5) == expected.search(question, limit=5)
    assert archive.keys() == expected.keys()
    assert archive.added == 3
    archive.remove([-2])
    assert [hit.key for hit in archive.search("fire of Trebic", limit=5)] == [-1, -3]
    assert len(live) == 3
