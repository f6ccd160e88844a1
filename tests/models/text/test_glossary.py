import random
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heed.models.arrays import FloatArray
from heed.models.bundle.bundle import Bundle
from heed.models.bundle.catalog import find
from heed.models.decoding.config import DecodeConfig
from heed.models.errors import DataError
from heed.models.tasks.translation.translator import Translator
from heed.models.text.glossary import Glossary, appears
from heed.models.text.words import word_spans
from heed.models.tokenizers.subwords import Tokenizer, load_tokenizers
from heed.transformer.data.vocabulary import train_tokenizer

DATA = Path(__file__).parents[2] / "data"


@pytest.fixture(scope="module")
def letters() -> Tokenizer:
    """A tokenizer of Latin letters, without bytes for others."""
    return train_tokenizer(["B a h n o f station"] * 9, vocab_size=20, name="letters")


@pytest.fixture(scope="module")
def german() -> Tokenizer:
    """The target's tokenizer of the model that heed brings."""
    return load_tokenizers(find(None))[1]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The station is closed.", [("Bahnhof",)]),
        ("THE STATION", [("Bahnhof",)]),
        ("stations and a substation", []),
        ("the station's clock", [("Bahnhof",)]),
        ("a police station near the station", [("Wache",), ("Bahnhof",)]),
        ("station, station", [("Bahnhof",)]),
        ("Police Station", [("Wache",)]),
        ("Apple makes no apple", [("Apfel AG",), ("Apfel",)]),
        ("an apple", [("Apfel",)]),
        ("\uff53tation", [("Bahnhof",)]),
        ("red wine", [("rot", "rote")]),
        ("", []),
    ],
)
def test_terms_are_found_as_whole_words_the_longest_first(
    german: Tokenizer, text: str, expected: list[tuple[str, ...]]
) -> None:
    entries = [
        ("station", "Bahnhof"),
        ("police station", "Wache"),
        ("apple", "Apfel"),
        ("Apple", "Apfel AG"),
        ("red", "rot"),
        ("red", "rote"),
    ]
    assert Glossary(entries, german).find(text) == expected


@pytest.mark.parametrize(
    ("text", "is_there"),
    [
        ("Das ist rot.", True),
        ("Rot ist es.", True),
        ("Das Rot.", False),
        ("röter, rote, Morgenrot", False),
        ("(rot)", True),
    ],
)
def test_a_term_appears_as_a_whole_word(text: str, is_there: bool) -> None:
    assert appears(("rot",), text) == is_there


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\nstation\t\n", "line 2: the translation is empty"),
        (b"\tBahnhof\n", "line 1: the term is empty"),
        (b"station\tBahnhof\ncity\t\xe6\x9d\xb1\xe4\xba\xac\n", "line 2: the model has no tokens for '東京'"),
        (b"station\tBahnhof\r\nred\tr\xf6t\n", "line 2 is not UTF-8"),
    ],
)
def test_a_wrong_line_is_named(letters: Tokenizer, tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "terms.tsv"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        Glossary.read(path, letters)
    assert str(caught.value).startswith(f"{path}: {message}")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Well\u2026 the station", ["station"]),  # one character that is three in the compatibility form
        ("\u2026station\u2026 station", ["station", "station"]),
        ("a cafe\u0301, \ufb01ne", ["cafe\u0301", "\ufb01ne"]),
        ("\u00bd station", ["station"]),
    ],
)
def test_a_term_is_where_it_stands_in_the_text(german: Tokenizer, text: str, words: list[str]) -> None:
    glossary = Glossary([("station", "Bahnhof"), ("caf\u00e9", "Cafeteria"), ("fine", "gut")], german)
    spans = word_spans(text)
    found = [text[spans[each.words[0]][0] : spans[each.words[-1]][1]] for each in glossary.occurrences(text)]
    assert found == words


@given(st.permutations(["dog", "cat", "red car", "and", "the", "a", "dog"]), st.integers(0, 99))
def test_each_term_comes_in_the_place_of_its_own_words(german: Tokenizer, parts: list[str], seed: int) -> None:
    """Where each word of a translation comes from one word, and the words of a term stay together."""
    glossary = Glossary([("dog", "Hund"), ("cat", "Katze"), ("red car", "Auto"), ("dog", "Hunde")], german)
    text, order = " ".join(parts), random.Random(seed).sample(range(len(parts)), len(parts))
    translation = " ".join(parts[i].upper() for i in order)
    numbers, starts = list(range(len(text.split()))), [len(" ".join(parts[:i]).split()) for i in range(len(parts))]
    moved = [number for i in order for number in numbers[starts[i] : starts[i] + len(parts[i].split())]]
    shares = np.eye(len(numbers), dtype=np.float32)[:, moved]
    terms = glossary.occurrences(text)
    found = glossary.substituted(translation, shares, terms)
    first = {"dog": "Hund", "cat": "Katze", "red car": "Auto"}
    assert found[0] == " ".join(first.get(parts[i], parts[i].upper()) for i in order)
    assert len(set(found)) == len(found) == 4
    assert all(glossary.in_place(each, _joined(shares, moved, parts, order), terms) for each in found)
    assert not glossary.in_place(translation, shares, terms)


def _joined(shares: FloatArray, moved: list[int], parts: list[str], order: list[int]) -> FloatArray:
    """The shares with one word of the translation for each part."""
    sizes = [len(parts[i].split()) for i in order]
    assert sum(sizes) == len(moved)
    return shares[:, np.cumsum([0, *sizes[:-1]])]


def test_a_glossary_is_read_as_tables_are_written(german: Tokenizer, tmp_path: Path) -> None:
    path = tmp_path / "terms.tsv"
    path.write_bytes(b"\xef\xbb\xbfstation \t Bahnhof\tnoun\r\n\r\nred\trot")
    glossary = Glossary.read(path, german)
    assert glossary.find("red station") == [("rot",), ("Bahnhof",)]


def glossary_file(directory: Path, text: str) -> Path:
    path = directory / "terms.tsv"
    path.write_text(text, "utf-8")
    return path


def test_a_line_without_a_term_is_translated_as_ever(tmp_path: Path) -> None:
    lines = (DATA / "tatoeba.test.en").read_text("utf-8").split("\n")[:30]
    terms = glossary_file(tmp_path, "xylophone\tXylophon\n")
    plain = Translator.load(find(None), threads=1).translate(lines)
    assert Translator.load(find(None), threads=1, glossary=terms).translate(lines) == plain


def test_terms_appear_in_each_of_the_best(tmp_path: Path) -> None:
    terms = glossary_file(tmp_path, "station\tHaltepunkt\nwarm\theiß\nwarm\theiße\n")
    translator = Translator.load(find(None), threads=1, glossary=terms)
    lines = ["Where is the station?", "It is warm. The station is old.", "A warm day.", "Good morning!"]
    results = translator.n_best(lines, n=3)
    for best in results[:2]:
        assert len(best) == 3
        assert all(appears(("Haltepunkt",), each.text) and each.missing == () for each in best)
    assert all(appears(("heiß", "heiße"), each.text) for best in results[1:3] for each in best)


@pytest.mark.parametrize(
    ("line", "terms"),
    [
        ("The dog sees the cat.", ["Köter", "Mieze"]),
        ("The cat sees the dog.", ["Mieze", "Köter"]),
        ("My dog and your cat are friends.", ["Köter", "Mieze"]),
        ("Well\u2026 the dog is hungry.", ["Köter"]),
        ("My sister reads a book in her room.", ["Schwesterherz", "Schmöker", "Kammer"]),
    ],
)
def test_terms_of_one_sentence_are_not_swapped(tmp_path: Path, line: str, terms: list[str]) -> None:
    entries = {"dog": "Köter", "cat": "Mieze", "sister": "Schwesterherz", "book": "Schmöker", "room": "Kammer"}
    path = glossary_file(tmp_path, "".join(f"{term}\t{translation}\n" for term, translation in entries.items()))
    (found,) = Translator.load(find(None), threads=1, glossary=path).translate([line])
    assert re.findall("|".join(entries.values()), found.text) == terms
    assert found.missing == ()


def test_a_given_translation_scores_as_one_that_is_found() -> None:
    translator = Translator.load(find(None), threads=1, shortlist=False, repair=False)
    (found,) = translator.translate(["I see a red car."])
    (source,) = translator._src.encode(["I see a red car."])
    (scored,) = translator._scored(translator.config, [*source, translator._src.eos_id], [found.text])
    assert (scored.text, scored.tokens) == (found.text, found.tokens)
    assert (scored.log_prob, scored.score) == pytest.approx((found.log_prob, found.score), abs=1e-3)


def test_what_has_no_room_is_told(tmp_path: Path) -> None:
    terms = glossary_file(tmp_path, "station\tHauptbahnhofsvorplatz\n")
    translator = Translator.load(find(None), threads=1, glossary=terms)
    (found,) = translator.translate(["The station."], DecodeConfig(max_length=2))
    assert found.missing == (("Hauptbahnhofsvorplatz",),)


@pytest.mark.slow
def test_of_200_terms_none_is_missing() -> None:
    """Each a word of the reference that nothing else forced, and of 4 letters at least: a stranger to many lines."""
    english, german = ((DATA / f"tatoeba.test.{side}").read_text("utf-8").split("\n")[:-1] for side in ("en", "de"))
    chosen = random.Random(5)
    bundle, tokenizers, n_lines = Bundle(find(None)), load_tokenizers(find(None)), 0
    network = bundle.network(device="cpu", threads=1)
    for src, tgt in zip(english, german, strict=True):
        nouns = [word for word in tgt.split()[1:] if len(word) > 3 and word.isalpha() and word[0].isupper()]
        words = [word for word in src.split() if word.isalpha()]
        if nouns and words and n_lines < 200:
            n_lines += 1
            term = chosen.choice(nouns)
            glossary = Glossary([(chosen.choice(words), term)], tokenizers[1])
            translator = Translator(network, *tokenizers, bundle.manifest.decode, glossary=glossary)
            (found,) = translator.translate([src])
            assert found.missing == ()
            assert term in found.text
    assert n_lines == 200
