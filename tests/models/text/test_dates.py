"""Dates of a language in another one."""

import pytest

from heed.models.text.dates import MONTHS, find_dates


@pytest.mark.parametrize(
    ("text", "languages", "form"),
    [
        ("on May 12, 1987.", ("en", "de"), "12. Mai 1987"),
        ("on May 12 1987.", ("en", "de"), "12. Mai 1987"),
        ("on 3rd March 2020.", ("en-GB", "de_AT"), "3. März 2020"),
        ("on June 1st", ("en", "de"), "1. Juni"),
        ("May 1987 was warm.", ("en", "de"), "Mai 1987"),
        ("in March, 2022.", ("en", "fr"), "mars 2022"),
        ("en marzo de 2022", ("es", "en"), "March 2022"),
        ("am 12. Mai 1987", ("de", "en"), "May 12, 1987"),
        ("le 1er août 1914", ("fr", "es"), "1 de agosto de 1914"),
        ("el 1 de agosto de 1914", ("es", "fr"), "1 août 1914"),
    ],
)
def test_a_date_is_written_as_the_target_does(text: str, languages: tuple[str, str], form: str) -> None:
    (date,) = find_dates(text, languages)
    assert date.forms[0] == form
    assert text[date.start : date.stop] in text.removesuffix(".")


@pytest.mark.parametrize("text", ["May I come?", "March 40, 1987", "on 1/2 May 3:30", "in March"])
def test_what_is_no_date(text: str) -> None:
    assert list(find_dates(text, ("en", "de"))) == []


def test_languages_that_are_not_known_have_no_dates() -> None:
    assert list(find_dates("May 12, 1987", ("en", "xx"))) == []


def test_there_and_back() -> None:
    for month in MONTHS["en"]:
        (there,) = find_dates(f"{month} 7, 1999", ("en", "fr"))
        (back,) = find_dates(there.forms[0], ("fr", "en"))
        assert back.forms[0] == f"{month} 7, 1999"
