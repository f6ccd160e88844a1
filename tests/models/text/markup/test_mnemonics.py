import pytest
from hypothesis import given
from hypothesis import strategies as st

from heed.models.text.markup.mnemonics import Mnemonic, take_mnemonic


@pytest.mark.parametrize(
    ("text", "expected", "letter"),
    [
        ("&File", "File", "F"),
        ("Save &As…", "Save As…", "A"),
        ("E&xit", "Exit", "x"),
        ("Pa&ste", "Paste", "s"),
        ("_Open", "Open", "O"),
        ("Find && &Replace", "Find && &Replace", None),  # && is an ampersand; two marks are left alone
        ("AT&T", "AT&T", None),
        ("AT&amp;T", "AT&amp;T", None),
        ("R&D", "R&D", None),
        ("Q&A", "Q&A", None),
        ("rock&roll", "rock&roll", None),
        ("&lt;b&gt;", "&lt;b&gt;", None),
        ("Tom & Jerry", "Tom & Jerry", None),
        ("a_name", "a_name", None),
        ("__init__", "__init__", None),
    ],
)
def test_a_mnemonic_is_one_mark_before_a_letter(text: str, expected: str, letter: str | None) -> None:
    without, mnemonic = take_mnemonic(text)
    assert (without, mnemonic and mnemonic.letter) == (expected, letter)


def test_what_is_kept_has_no_mnemonic() -> None:
    assert take_mnemonic("See /a?q=&lang", [(4, 14)]) == ("See /a?q=&lang", None)


@pytest.mark.parametrize(
    ("mnemonic", "translation", "expected"),
    [
        (Mnemonic("&", "F"), "Datei", "&Datei"),
        (Mnemonic("&", "A"), "Speichern als", "Speichern &als"),
        (Mnemonic("&", "x"), "Text", "Te&xt"),
        (Mnemonic("_", "O"), "Öffnen", "_Öffnen"),
        (Mnemonic("&", "f"), "文件...", "文件(&F)..."),
    ],
)
def test_it_goes_to_the_same_letter_or_to_the_first(mnemonic: Mnemonic, translation: str, expected: str) -> None:
    assert mnemonic.put_into(translation) == expected


def test_it_goes_into_no_placeholder() -> None:
    assert Mnemonic("&", "s").put_into("%s Seite", [(0, 2)]) == "%s &Seite"


@given(st.text(st.characters(categories=["L", "N", "P", "Zs"]), max_size=12))
def test_no_translation_loses_it(translation: str) -> None:
    found = Mnemonic("&", "F").put_into(translation)
    without = [found[:i] + found[i + 1 :] for i, character in enumerate(found) if character == "&"]
    assert translation in without or found.replace("(&F)", "", 1) == translation
