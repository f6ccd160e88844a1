import dataclasses
from collections.abc import Sequence

import pytest

from heed.models.bundle.catalog import find
from heed.models.decoding.constraints import Phrase
from heed.models.tasks.translation.batch_search import Job
from heed.models.tasks.translation.doubts import UNLIKELY, doubts
from heed.models.tasks.translation.keeper import Keeper
from heed.models.tasks.translation.repair import Repair, Search
from heed.models.tasks.translation.translation import Translation
from heed.models.tasks.translation.translator import Translator
from heed.models.tokenizers.subwords import Tokenizer
from heed.transformer.data.vocabulary import train_tokenizer

LETTERS = " ".join("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZäöüß0123456789.,:;!?_-@/'€$")


@pytest.fixture(scope="module")
def pieces() -> Tokenizer:
    """Frequent words have pieces of their own, other ones a piece for each letter."""
    return train_tokenizer(
        [LETTERS, *["costs Monday the books in ask see she has good all they she hello it"] * 50],
        vocab_size=124,
        name="letters",
    )


@pytest.fixture
def repair(pieces: Tokenizer) -> Repair:
    return Repair(pieces, pieces, ("en", "de"))


def translated(text: str, log_prob: float, *, looped: bool = False) -> Translation:
    return Translation(text, [1] * 9, log_prob, log_prob, looped=looped)


class Searching:
    """Searches that find what a test tells, and remember what they were asked."""

    def __init__(self, pieces: Tokenizer, *results: Translation, beam: Sequence[Translation] = ()) -> None:
        self._pieces, self._results, self._beam = pieces, list(results), list(beam)
        self.asked: list[tuple[str, list[str]]] = []

    def __call__(
        self, text: str, phrases: Sequence[Phrase], floor: float, *, wants_all: bool = False
    ) -> Job[list[Translation]]:
        if wants_all:
            return self._beam
        forms = [self._pieces.decode([list(form) for form in phrase])[0] for phrase in phrases]
        self.asked.append((text, forms))
        found = self._results.pop(0)
        return [found] if found.log_prob >= floor else []
        yield  # as a search does that waits for others


def mended(repair: Repair, source: str, first: Translation, search: Search) -> Translation:
    """The best translation of a source after its repair."""
    with pytest.raises(StopIteration) as end:
        next(repair.mend(source, [first], search))
    found: Translation = end.value.value[0]
    return found


SOURCE = "Ask Nakamura in 1987."
FIRST = translated("Frag Nakura.", -7.0)


def test_a_name_is_translated_as_another_one_and_put_back(repair: Repair, pieces: Tokenizer) -> None:
    search = Searching(pieces, translated("Frag Tom 1987.", -5.0), translated("Frag Boston 1987!", -6.0))
    found = mended(repair, SOURCE, FIRST, search)
    assert search.asked == [("Ask Tom in 1987.", ["1987"]), ("Ask Boston in 1987.", ["1987", "Boston"])]
    assert (found.text, found.repaired) == ("Frag Nakamura 1987.", ("Nakamura", "1987"))


def test_what_is_likelier_as_a_city_is_translated_as_one(repair: Repair, pieces: Tokenizer) -> None:
    search = Searching(pieces, translated("Sie fragt zu Tom.", -5.0), translated("Sie fragt in Boston.", -4.0))
    found = mended(repair, "She asks in Nakamura.", translated("Sie fragt.", -9.0), search)
    assert found.text == "Sie fragt in Nakamura."


def test_what_lost_nothing_is_not_searched_again(repair: Repair, pieces: Tokenizer) -> None:
    first = translated("Hallo.", -1.0)
    assert mended(repair, "Hello.", first, Searching(pieces)) is first


@pytest.mark.parametrize(
    "second",
    [
        translated("Frag Tom 1987.", -500.0),  # too dear
        translated("Frag Tom 1987, 1987, 1987.", -5.0, looped=True),
        translated("Frag ihn 1987.", -5.0),  # the name is missing
        translated("Frag Tom und Tom 1987.", -5.0),  # or there twice
        translated("Frag Tom.", -5.0),  # the number is missing
    ],
)
def test_what_does_not_help_is_tried_in_other_ways(repair: Repair, pieces: Tokenizer, second: Translation) -> None:
    bad = translated("Frag ihn.", -5.0)
    search = Searching(pieces, second, bad, bad, bad, bad)
    found = mended(repair, SOURCE, FIRST, search)
    assert search.asked == [
        ("Ask Tom in 1987.", ["1987"]),
        ("Ask Boston in 1987.", ["1987", "Boston"]),
        ("Ask Nakamura in 50.", []),
        (SOURCE, ["Nakamura", "1987"]),
        (SOURCE, ["1987"]),
    ]
    assert (found.text, found.repaired, found.lost) == (FIRST.text, (), ("1987",))


def test_what_the_model_has_given_up_is_not_required(repair: Repair, pieces: Tokenizer) -> None:
    """Easier sentences are tried."""
    search = Searching(pieces, *[translated("Frag ihn.", -9.0)] * 3)
    mended(repair, SOURCE, translated("Frag Nakura.", -9.0), search)
    assert [text for text, _ in search.asked] == ["Ask Tom in 1987.", "Ask Boston in 1987.", "Ask Nakamura in 50."]


def test_nothing_is_searched_that_would_have_to_be_more_than_certain(repair: Repair, pieces: Tokenizer) -> None:
    """A name in the place of a word must make the sentence likelier by a nat at least."""
    search = Searching(pieces, translated("Ask", -90.0))
    first = translated("Frag die Bäcker.", -0.5)
    assert mended(repair, "Ask Bakers.", first, search) == first
    assert search.asked == [("Ask Bakers.", ["Bakers"])]


def test_a_word_that_is_translated_is_not_copied(repair: Repair, pieces: Tokenizer) -> None:
    """The sentence is not likelier with a name in its place, and with the word itself it is much less likely."""
    search = Searching(
        pieces, translated("Frag Tom.", -2.0), translated("Frag Boston.", -2.0), translated("Ask", -90.0)
    )
    first = translated("Frag die Bäcker.", -1.5)
    assert mended(repair, "Ask Bakers.", first, search) == first
    assert len(search.asked) == 3


@pytest.mark.parametrize(("log_prob", "n_searches"), [(-0.3, 0), (-0.6, 1)])
def test_a_word_with_a_trace_in_a_sure_translation_is_not_required(
    repair: Repair, pieces: Tokenizer, log_prob: float, n_searches: int
) -> None:
    search = Searching(pieces, translated("Ask", -90.0))
    first = translated("Frag Nakamurien.", log_prob)
    assert mended(repair, "Ask Nakamura.", first, search) == first
    assert len(search.asked) == n_searches


def test_what_the_vocabulary_lacks_is_not_required(repair: Repair, pieces: Tokenizer) -> None:
    search = Searching(pieces, *[translated("Das.", -9.0)] * 2)
    first = translated("Das www.\u2603.de.", -7.0)
    assert mended(repair, "the books at www.\u2603.de of 452.", first, search).lost == ("452",)
    assert search.asked == [("the books at www.\u2603.de of 50.", []), ("the books at www.\u2603.de of 452.", ["452"])]


@pytest.mark.parametrize(("source", "n_searches"), [("ask in Nakamura.", 3), ("ask the Nakamura.", 2)])
def test_a_noun_that_may_be_no_name_is_not_required(pieces: Tokenizer, source: str, n_searches: int) -> None:
    """As in German, where all nouns have capitals."""
    search = Searching(pieces, *[translated("He asks.", -9.0)] * 3)
    first = translated("He asks Nakura.", -7.0)
    assert mended(Repair(pieces, pieces, ("de", "en")), source, first, search) == first
    assert len(search.asked) == n_searches


def test_what_is_repaired_at_the_cost_of_another_number_is_not_taken(repair: Repair, pieces: Tokenizer) -> None:
    """The easier number and the required one each come without the one that stood there."""
    without = [translated("Die 50.", -5.0), translated("Die 20.", -5.0), translated("Die 452.", -5.0)]
    search = Searching(pieces, *without, translated("Die 95 von 452.", -9.0))
    found = mended(repair, "The 95 books of 452.", translated("Die 95 Bücher.", -5.0), search)
    assert search.asked == [
        ("The 95 books of 50.", []),
        ("The 50 books of 20.", []),
        ("The 95 books of 452.", ["452"]),
        ("The 95 books of 452.", ["452", "95"]),
    ]
    assert (found.text, found.repaired) == ("Die 95 von 452.", ("452",))


def test_a_number_is_translated_as_an_easier_one_and_put_back(repair: Repair, pieces: Tokenizer) -> None:
    """As the target writes it."""
    search = Searching(pieces, translated("Die Tische 50.", -5.0))
    found = mended(repair, "The books 866,997.", translated("Die Tische.", -9.0), search)
    assert search.asked == [("The books 50.", [])]
    assert (found.text, found.repaired) == ("Die Tische 866.997.", ("866.997",))


@pytest.mark.parametrize(("first", "restored"), [("Frag ihn.", True), ("Frag Nakura.", False)])
def test_a_name_that_left_no_trace_is_restored_more_readily(
    repair: Repair, pieces: Tokenizer, first: str, restored: bool
) -> None:
    """For a word that is translated mostly leaves one: with the same price, one is put back and one is not."""
    search = Searching(pieces, *[translated("Frag Tom.", -5.0)] * 2, translated("Ask", -90.0))
    found = mended(repair, "Ask Nakamura.", translated(first, -5.0), search)
    assert found.text == ("Frag Nakamura." if restored else first)


def test_names_that_follow_one_another_are_one(repair: Repair, pieces: Tokenizer) -> None:
    search = Searching(pieces, translated("Frag Tom und Maria.", -5.0), translated("Frag Boston und London.", -6.0))
    found = mended(repair, "Ask Ada Nakamura and Zoltan in the books.", translated("Frag Nak.", -9.0), search)
    assert [text for text, _ in search.asked] == [
        "Ask Tom and Maria in the books.",
        "Ask Boston and London in the books.",
    ]
    assert found.text == "Frag Ada Nakamura und Zoltan."


def test_a_name_keeps_the_ending_of_the_genitive(repair: Repair, pieces: Tokenizer) -> None:
    search = Searching(pieces, translated("Toms Auto.", -5.0), translated("Bostons Auto.", -6.0))
    found = mended(repair, "See Nakamura's books.", translated("Das Auto.", -9.0), search)
    assert found.text == "Nakamuras Auto."


def test_what_stays_lost_is_told_though_nothing_is_searched(pieces: Tokenizer) -> None:
    repair = Repair(pieces, pieces, ("en", "de"), searches=False)
    found = mended(repair, "Ask Nakamura in 1987.", translated("Frag Nakura.", -0.1), Searching(pieces))
    assert doubts(found) == ["lost 1987"]


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (-6.0, -1.0, "SIE HAT DIE B\u00dcCHER."),  # unsure of capitals
        (-6.0, -9.0, "SISCHE HAT."),  # and of small letters
        (-1.0, None, "SISCHE HAT."),  # sure: not searched again
    ],
)
def test_capitals_are_translated_in_small_letters_where_that_is_surer(
    repair: Repair, pieces: Tokenizer, first: float, second: float | None, expected: str
) -> None:
    results = [] if second is None else [translated("Sie hat die B\u00fccher.", second)]
    search = Searching(pieces, *results)
    found = mended(repair, "SHE HAS THE BOOKS.", translated("SISCHE HAT.", first), search)
    assert found.text == expected
    assert [text for text, _ in search.asked] == ["She has the books."] * len(results)


@pytest.mark.parametrize(("third", "expected"), [(-0.5, "ASK HELLOS."), (-3.0, "ASK VIELE.")])
def test_rare_words_in_capitals_are_names_where_that_is_much_surer(
    repair: Repair, pieces: Tokenizer, third: float, expected: str
) -> None:
    search = Searching(pieces, translated("Ask viele.", -4.0), translated("Ask Tom.", third))
    found = mended(repair, "ASK HELLOS.", translated("SASK HALS.", -9.0), search)
    assert found.text == expected
    assert [text for text, _ in search.asked] == ["Ask hellos.", "Ask Tom."]


BEAM = [translated("\u201eHallo, sagte sie.", -2.0), translated("\u201eHallo\u201c, sagte sie.", -4.0)]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ('"hello," she asked', "\u201eHallo\u201c, sagte sie."),
        ("\u201chello,\u201d she asked", "\u201eHallo\u201c, sagte sie."),
        ('hello," she asked', "\u201eHallo, sagte sie."),  # no pair
    ],
)
def test_a_pair_of_quotation_marks_stays_a_pair(repair: Repair, pieces: Tokenizer, source: str, expected: str) -> None:
    found = mended(repair, source, BEAM[0], Searching(pieces, beam=BEAM))
    assert found.text == expected
    assert (found.lost, found.repaired) == ((), ('"',) if expected == BEAM[1].text else ())


@pytest.mark.parametrize("beam", [BEAM[:1], [BEAM[0], translated("\u201eHallo\u201c.", -9.0)]])
def test_a_quotation_mark_that_stays_lost_is_told(repair: Repair, pieces: Tokenizer, beam: list[Translation]) -> None:
    found = mended(repair, '"hello," she asked', BEAM[0], Searching(pieces, beam=beam))
    assert found.text == BEAM[0].text
    assert doubts(found) == ['lost "']


def test_the_model_s_own_doubts_are_told() -> None:
    sure, unsure = translated("a", -0.1), translated("a", -20.0, looped=True)
    assert doubts(sure) == []
    assert sure.confidence > UNLIKELY > unsure.confidence
    assert doubts(unsure) == ["unlikely", "repeats itself, or has no end"]
    assert Translation("", [], 0.0, 0.0).confidence == 1


def test_repair_helps_and_leaves_other_lines_alone() -> None:
    numbers = ["The library owns 866,997 books.", "I was born in 1987.", "Turn to page 452.", "There are 95 books."]
    german = ["866.997", "1987", "452", "95"]
    plain = ["Good morning!", "I love you.", "Where is the station?"]
    with_repair, without = (
        Translator.load(find(None), threads=1, repair=repair).translate([*numbers, *plain]) for repair in (True, False)
    )
    kept = [
        [number in each.text for number, each in zip(german, found, strict=False)] for found in (with_repair, without)
    ]
    assert all(kept[0])
    assert all(now or not before for now, before in zip(*kept, strict=True))
    for now, before in zip(with_repair, without, strict=True):
        assert now == before or now.repaired


def test_a_name_with_a_letter_that_the_model_does_not_know_is_told_as_it_is() -> None:
    with Translator.load(find(None), threads=1) as translator:
        ((found,),) = Keeper(translator, (), tags=False).n_best(["Priya Wiśniewska wrote this song."])
    assert "Priya Wiśniewska" in found.text
    assert found.repaired == ("Priya Wiśniewska",)


LINES = [
    "Ask Nakamura in 1987.", "The library owns 866,997 books.", "Dublin is the capital of Ireland.", "I love you.",
    "Tell Nadia, Zofia and Hamish to wait.", "Please open settings.json now.", "Write to anna@example.org.",
    "Here's $5.", "CALL OKSANA AT ONCE.", "I live in Mexico.", "Hello!",
]  # fmt: skip


def test_what_is_repaired_does_not_depend_on_the_lines_beside_it() -> None:
    with Translator.load(find(None), threads=2) as translator:
        for beam_size in (1, 4):
            config = dataclasses.replace(translator.config, beam_size=beam_size)
            together = translator.translate(LINES, config, batch_size=4)
            for line, found in zip(LINES, together, strict=True):
                alone = translator.translate([line], config)[0]
                assert (found.text, found.repaired, found.lost) == (alone.text, alone.repaired, alone.lost)
    assert sum(bool(each.repaired) for each in together) > 3


def test_lines_that_are_advanced_step_by_step_are_translated_as_at_once() -> None:
    """Each step has the lines that are not done, and a new one: as a server's batches do."""
    lines = [*LINES, "", "Good morning! Ask Nakamura in 1987."]
    with Translator.load(find(None), threads=1) as translator:
        tasks = translator.begin(lines)
        for n in range(len(tasks)):
            translator.advance([each for each in tasks[: n + 1] if not each.is_done])
        while waiting := [each for each in tasks if not each.is_done]:
            translator.advance(waiting)
        expected = translator.translate(lines)
    assert [(task.translations[0].text, task.translations[0].repaired) for task in tasks] == [
        (each.text, each.repaired) for each in expected
    ]
