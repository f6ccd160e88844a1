import pytest
from hypothesis import given
from hypothesis import strategies as st

from heed.models.text.numbers import SEPARATORS, digits_of, localized, separators, with_digits


@given(st.integers(0, 10**12), st.sampled_from(sorted(SEPARATORS)), st.sampled_from(sorted(SEPARATORS)))
def test_a_number_comes_back_from_another_language(whole: int, src: str, tgt: str) -> None:
    written = f"{whole:,}.25".translate(str.maketrans(",.", "".join(SEPARATORS[src])))
    there = localized(written, SEPARATORS[src], SEPARATORS[tgt])
    assert digits_of(there) == f"{whole}25"
    assert localized(there, SEPARATORS[tgt], SEPARATORS[src]) == written


@pytest.mark.parametrize(
    ("number", "expected"),
    [("1,250", "1.250"), ("12.5", "12,5"), ("1,250.75", "1.250,75"), ("14:35", "14:35"), ("1.2.3", "1.2.3")],
)
def test_numbers_get_the_marks_of_german(number: str, expected: str) -> None:
    assert localized(number, SEPARATORS["en"], SEPARATORS["de"]) == expected


def test_a_country_changes_nothing_and_an_unknown_language_has_no_marks() -> None:
    assert separators("de-AT") == separators("de") == (".", ",")
    assert separators("xx") is separators(None) is None


def test_digits_take_the_places_of_digits() -> None:
    assert with_digits("1.250,75 €", "987654") == "9.876,54 €"
