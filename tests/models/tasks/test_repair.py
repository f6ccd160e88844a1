from collections.abc import Sequence

import pytest

from heed.models.bundle.catalog import find
from heed.models.decoding.constraints import Phrase
from heed.models.tasks.doubts import UNLIKELY, doubts
from heed.models.tasks.repair import Lost, Repair
from heed.models.tasks.translation import Translation
from heed.models.tasks.translator import Translator
from heed.models.text.literals import Kind
from heed.models.tokenizers.subwords import Tokenizer
from heed.transformer.data.vocabulary import train_tokenizer

LETTERS = " ".join("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZäöüß0123456789.,:;!?_-@/'€$")


@pytest.fixture(scope="module")
def pieces() -> Tokenizer:
    """Frequent words have pieces of their own, other ones a piece for each letter."""
    return train_tokenizer(
        [LETTERS, *["costs Monday the books in ask see she has good all they she hello"] * 50],
        vocab_size=120,
        name="letters",
    )


@pytest.fixture
def repair(pieces: Tokenizer) -> Repair:
    return Repair(pieces, pieces, ("en", "de"))


@pytest.mark.parametrize(
    ("source", "translation", "lost"),
    [
        ("It costs 1,250 euros.", "Es kostet 120 Euro.", [(Kind.NUMBER, "1.250")]),
        ("It costs 1,250 euros.", "Es kostet 1,250 Euro.", [(Kind.NUMBER, "1.250")]),  # another number in German
        ("It costs 1,250 euros.", "Es kostet 1.250 Euro.", []),
        ("It costs 1,250 euros.", "Es kostet 1250 Euro.", []),
        ("It costs 12.5 euros.", "Es kostet 125,0 Euro.", [(Kind.NUMBER, "12,5")]),
        ("It costs 71.5 euros.", "Es kostet 715 Euro.", [(Kind.NUMBER, "71,5")]),
        ("It is from 2024-01-31.", "Es ist vom 31.1.2024.", []),
        ("It is from 2024-01-31.", "Es ist vom 31.2.2024.", [(Kind.NUMBER, "2024-01-31")]),
        ("It is 14:35.", "Es ist 14.35 Uhr.", []),
        ("She has 7 books.", "Sie hat sieben Bücher.", []),
        ("She has 71 books.", "Sie hat 710 Bücher.", [(Kind.NUMBER, "71")]),
        ("It is 2:30 p.m. now.", "Es ist jetzt 14:30.", []),
        ("Ask Nakamura.", "Frag Nakura.", [(Kind.NAME, "Nakamura")]),
        ("Ask Nakamura.", "Frag Nakamura.", []),
        ("They came on Monday.", "Sie kamen am Montag.", []),  # a frequent word, which is translated
        ("Costs are high.", "Die Kosten sind hoch.", []),  # a frequent word, at the beginning of a sentence
        ("All The News That Nakamura Prints", "Alle Nachrichten von N.", []),  # a title
        ("See a_b.pdf at www.x.de.", "Siehe dort.", [(Kind.CODE, "a_b.pdf"), (Kind.ADDRESS, "www.x.de")]),
        ("Good morning!", "Guten Morgen!", []),
    ],
)
def test_what_is_lost_is_found(repair: Repair, source: str, translation: str, lost: list[tuple[Kind, str]]) -> None:
    assert repair.lost(source, translation) == [Lost(*each) for each in lost]


def test_capitals_tell_no_name_in_german(pieces: Tokenizer) -> None:
    assert Repair(pieces, pieces, ("de", "en")).lost("Das ist ein Hausdach.", "This is a roof.") == []


def test_numbers_keep_their_marks_where_a_language_is_not_known(pieces: Tokenizer) -> None:
    assert Repair(pieces, pieces, ("en", "xx")).lost("1,250", "12") == [Lost(Kind.NUMBER, "1,250")]


def translated(text: str, log_prob: float, *, looped: bool = False) -> Translation:
    return Translation(text, [1] * 9, log_prob, log_prob, looped=looped)


@pytest.mark.parametrize(
    ("second", "taken"),
    [
        (translated("Frag Nakamura 1987.", -5.0), True),
        (translated("Frag Nakamura 1987.", -500.0), False),  # too dear
        (translated("Frag Nakamura 1987, 1987, 1987.", -5.0, looped=True), False),
        (translated("Frag Nakura 1987.", -5.0), False),  # it did not work
    ],
)
def test_a_second_translation_is_taken_if_it_has_all_at_a_fair_price(
    repair: Repair, pieces: Tokenizer, second: Translation, taken: bool
) -> None:
    asked: list[tuple[list[int], list[list[str]]]] = []

    def again(numbers: Sequence[int], phrases: Sequence[Sequence[Phrase]]) -> list[list[Translation]]:
        forms = [[pieces.decode([list(form) for form in phrase])[0] for phrase in each] for each in phrases]
        asked.append((list(numbers), forms))
        return [[second] for _ in numbers]

    found = [[translated("Hallo.", -1.0)], [translated("Frag Nakura.", -1.0)]]
    repair.mend(["Hello.", "Ask Nakamura in 1987."], found, again)
    assert asked[0] == ([1], [["Nakamura", "1987"]])
    assert asked[1:] == ([] if taken else [([1], [["1987"]])])
    assert found[0][0].text == "Hallo."
    if taken:
        assert (found[1][0].text, found[1][0].repaired, found[1][0].lost) == (second.text, ("Nakamura", "1987"), ())


def test_what_stays_lost_is_told_though_nothing_is_searched(pieces: Tokenizer) -> None:
    def again(*_: object) -> list[list[Translation]]:
        pytest.fail("searched again")

    found = [[translated("Frag Nakura.", -0.1)]]
    Repair(pieces, pieces, ("en", "de"), searches=False).mend(["Ask Nakamura in 1987."], found, again)
    assert doubts(found[0][0]) == ["lost 1987"]


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
