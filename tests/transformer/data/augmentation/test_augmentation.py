import re
from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heed.models.text.literals import LiteralKind
from heed.models.text.numbers import digits_of
from heed.transformer.data.augmentation.augmentation import Augmentation
from heed.transformer.data.augmentation.replacements import ReplacementSampler
from heed.transformer.data.augmentation.shared_literals import find_shared_literals, learn_names
from heed.transformer.data.text.sources import Pair

LANGUAGES = ("en", "de")
PAIRS: list[Pair] = [
    ("Tom lives in Boston.", "Tom lebt in Boston."),
    ("Tom and Mary paid $1,250.50 on May 12, 1987.", "Tom und Mary bezahlten am 12. Mai 1987 1.250,50 $."),
    ("Tom's hand hurts.", "Toms Hand tut weh."),
    ("The train leaves at 14:35.", "Der Zug fährt um 14:35 Uhr."),
    ("Open notes_3.txt or see https://example.com/a.", "Öffne notes_3.txt oder siehe https://example.com/a."),
    ("Mary has 1 hand and 300 books.", "Mary hat 1 Hand und 300 Bücher."),
    ("Give me your hand.", "Gib mir deine Hand."),
    ("My hand is cold, Boston.", "Meine Hand ist kalt, Boston."),
]


def everything(copy: float = 1.0, case: float = 0.0) -> Augmentation:
    return Augmentation(PAIRS, LANGUAGES, copy_share=copy, case_share=case)


def test_names_are_what_both_sides_write_alike_and_never_without_a_capital() -> None:
    assert learn_names(PAIRS) == ["Boston", "Mary", "Tom"]


def test_things_are_found_on_both_sides_with_each_language_s_separators() -> None:
    found = find_shared_literals(PAIRS[1], frozenset(learn_names(PAIRS)))
    assert [[literal.text for side in thing.sides for literal in side] for thing in found] == [
        ["Tom", "Tom"],
        ["Mary", "Mary"],
        ["1,250.50", "1.250,50"],
        ["12", "12"],
        ["1987", "1987"],
    ]


def test_what_stands_there_unequally_often_is_left_alone() -> None:
    assert find_shared_literals(("Tom, Tom!", "Tom!"), frozenset(["Tom"])) == []
    assert find_shared_literals(("It costs 5 or 5.", "Es kostet 5."), frozenset()) == []


@given(st.integers(0, 2**32 - 1))
def test_the_same_seed_changes_the_same_pairs_in_the_same_way(seed: int) -> None:
    augment = everything(0.5, 0.5)
    assert augment(PAIRS, seed) == augment(PAIRS, seed)


@given(st.integers(0, 2**32 - 1))
def test_both_sides_have_the_new_things_and_all_else_stays(seed: int) -> None:
    for pair, augmented in zip(PAIRS, everything()(PAIRS, seed), strict=True):
        assert not augmented.recased
        assert augmented.copied == (augmented.pair != pair)
        src, tgt = augmented.pair
        assert sorted(digits_of(src)) == sorted(digits_of(tgt))
        for before, after in zip(pair, augmented.pair, strict=True):
            kept = [word for word in re.findall(r"[^\W\d_]+", before) if word[0].islower() and len(word) > 2]
            assert [
                word for word in kept if word not in ("notes", "txt", "https", "example", "com") and word not in after
            ] == []


@given(st.integers(0, 2**32 - 1))
def test_new_names_are_on_both_sides_also_in_the_genitive(seed: int) -> None:
    src, tgt = everything()([PAIRS[0], PAIRS[2]], seed)[1].pair
    name = src.removesuffix("'s hand hurts.")
    assert tgt == f"{name}s Hand tut weh."
    assert name[-1].lower() not in "szxß"


@given(st.integers(0, 2**32 - 1))
def test_a_time_stays_a_time_and_a_price_keeps_the_marks_of_its_language(seed: int) -> None:
    time, price = (everything()([PAIRS[i]], seed)[0].pair for i in (3, 1))
    hours, minutes = map(int, re.findall(r"\d+", time[0]))
    assert hours < 24
    assert minutes < 60
    assert re.search(r"\$[1-9],\d{3}\.\d\d on", price[0])
    assert re.search(r" [1-9]\.\d{3},\d\d \$", price[1])


@given(st.integers(0, 2**32 - 1))
def test_what_is_one_stays_one(seed: int) -> None:
    assert " has 1 hand and " in everything()([PAIRS[5]], seed)[0].pair[0].replace("\u00a0", " ")


def test_numbers_get_separators_only_where_those_of_both_languages_are_known() -> None:
    pair = ("Count 300 books.", "Zähle 300 Bücher.")
    marks = {}
    for languages in (LANGUAGES, ("en", ""), ("en", "xx")):
        augment = Augmentation([pair], languages, copy_share=1.0, case_share=0.0)
        found = [augment([pair], seed)[0].pair for seed in range(200)]
        marks[languages] = {re.sub(r"\w", "", src[len("Count ") : -len(" books.")]) for src, _ in found}
    assert marks[LANGUAGES] >= {"", ",", ".", ",."}
    assert marks["en", ""] == marks["en", "xx"] == {""}


def test_a_share_of_the_pairs_is_changed() -> None:
    augment = everything(0.3, 0.2)
    found = augment([PAIRS[0]] * 3000, 1)
    assert 0.26 < sum(each.copied for each in found) / 3000 < 0.34
    assert 0.17 < sum(each.recased for each in found) / 3000 < 0.23
    assert not any(each.copied or each.recased for each in everything(0.0, 0.0)(PAIRS, 1))


def test_capitals_are_on_both_sides_and_titles_on_the_source_s() -> None:
    pair = ("The door isn't open.", "Die Tür ist nicht offen.")
    augment = Augmentation([pair], LANGUAGES, copy_share=0.0, case_share=1.0)
    assert {augment([pair], seed)[0].pair for seed in range(50)} == {
        ("THE DOOR ISN'T OPEN.", "DIE TÜR IST NICHT OFFEN."),
        ("The Door Isn't Open.", pair[1]),
    }


def test_a_script_without_cases_is_not_recased() -> None:
    pair = ("今日は。", "今天。")
    augment = Augmentation([pair], ("ja", "zh"), copy_share=1.0, case_share=1.0)
    assert [augment([pair], seed)[0].recased for seed in range(5)] == [False] * 5


@pytest.mark.parametrize("make", [ReplacementSampler.code_word, ReplacementSampler.identifier, ReplacementSampler.file])
def test_made_code_words_are_found_again_as_such(make: Callable[[ReplacementSampler, Random], str]) -> None:
    sampler = ReplacementSampler(["Nakamura", "Copenhagen", "Aleksandra"], LANGUAGES)
    made = [make(sampler, Random(seed)) for seed in range(100)]
    found = [find_shared_literals((f"See {text} now", f"Siehe {text} jetzt"), frozenset()) for text in made]
    assert [[thing.sides[0][0].text for thing in things] for things in found] == [[text] for text in made]


@pytest.mark.parametrize("make", [ReplacementSampler.url, ReplacementSampler.mail])
def test_made_addresses_are_found_again_as_such(make: Callable[[ReplacementSampler, Random], str]) -> None:
    sampler = ReplacementSampler(["Nakamura", "Copenhagen", "Aleksandra"], LANGUAGES)
    made = [make(sampler, Random(seed)) for seed in range(100)]
    found = [find_shared_literals((f"See {text}.", f"Siehe {text}!"), frozenset()) for text in made]
    assert [[(thing.kind, thing.sides[0][0].text) for thing in things] for things in found] == [
        [(LiteralKind.ADDRESS, text)] for text in made
    ]
