import random
from pathlib import Path

import pytest

from heed.models.bundle.bundle import Bundle
from heed.models.bundle.catalog import find
from heed.models.decoding.config import DecodeConfig
from heed.models.errors import DataError
from heed.models.tasks.translation.translator import Translator
from heed.models.text.glossary import Glossary, appears
from heed.models.tokenizers.subwords import Tokenizer, load_tokenizers

DATA = Path(__file__).parents[2] / "data"


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
def test_a_wrong_line_is_named(german: Tokenizer, tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "terms.tsv"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        Glossary.read(path, german)
    assert str(caught.value).startswith(f"{path}: {message}")


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
