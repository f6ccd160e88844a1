"""The language of a text."""

from pathlib import Path

import pytest

from heed.models.text.languages import LanguageGuess

DATA = Path(__file__).parents[2] / "data"
# The first article of the Universal Declaration of Human Rights, and the beginning of the second.
ARTICLES = {
    "de": "Alle Menschen sind frei und gleich an Würde und Rechten geboren. Sie sind mit Vernunft und Gewissen "
    "begabt und sollen einander im Geiste der Brüderlichkeit begegnen. Jeder hat Anspruch auf die in dieser "
    "Erklärung verkündeten Rechte und Freiheiten ohne irgendeinen Unterschied.",
    "en": "All human beings are born free and equal in dignity and rights. They are endowed with reason and "
    "conscience and should act towards one another in a spirit of brotherhood. Everyone is entitled to all the"
    " rights and freedoms set forth in this Declaration, without distinction of any kind.",
    "es": "Todos los seres humanos nacen libres e iguales en dignidad y derechos y, dotados como están de razón y "
    "conciencia, deben comportarse fraternalmente los unos con los otros. Toda persona tiene todos los "
    "derechos y libertades proclamados en esta Declaración, sin distinción alguna de raza, color, sexo, "
    "idioma, religión, opinión política o de cualquier otra índole, origen nacional o social, posición "
    "económica, nacimiento o cualquier otra.",
    "fr": "Tous les êtres humains naissent libres et égaux en dignité et en droits. Ils sont doués de raison et de "
    "conscience et doivent agir les uns envers les autres dans un esprit de fraternité. Chacun peut se "
    "prévaloir de tous les droits et de toutes les libertés proclamés dans la présente Déclaration, sans "
    "distinction aucune.",
}


@pytest.mark.parametrize("language", ARTICLES)
def test_the_language_of_a_paragraph(language: str) -> None:
    assert LanguageGuess().add([ARTICLES[language]] * 2) == language


@pytest.mark.parametrize("language", ["en", "de"])
def test_no_sentences_seem_to_be_in_another_language(language: str) -> None:
    lines = (DATA / f"tatoeba.test.{language}").read_text("utf-8").splitlines()
    for first in range(0, len(lines), 10):
        guess = LanguageGuess()
        assert {guess.add([line]) for line in lines[first : first + 10]} <= {language, None}
    assert LanguageGuess().add(lines) == language


@pytest.mark.parametrize("text", ["", "Berlin 1987", "Der", "x = y + 1", "これはペンです。"])
def test_what_has_too_few_words_has_no_language(text: str) -> None:
    assert LanguageGuess().add([text] * 3) is None


def test_two_languages_at_once_are_not_clear() -> None:
    assert LanguageGuess().add([ARTICLES["de"], ARTICLES["en"]]) is None
