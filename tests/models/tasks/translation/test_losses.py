"""What translations lost of their sources."""

import pytest

from heed.models.tasks.translation.losses import ExpectedLiteral, Losses
from heed.models.text.literals import LiteralKind
from heed.models.tokenizers.subwords import Tokenizer
from heed.transformer.data.vocabulary import train_tokenizer

LETTERS = " ".join("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZäöüß0123456789.,:;!?_-@/'€$")


@pytest.fixture(scope="module")
def pieces() -> Tokenizer:
    """Frequent words have pieces of their own, other ones a piece for each letter."""
    return train_tokenizer(
        [LETTERS, *["costs Monday the books in ask see she has good all they she hello it"] * 50],
        vocab_size=150,
        name="letters",
    )


@pytest.fixture
def losses(pieces: Tokenizer) -> Losses:
    return Losses(pieces, pieces, ("en", "de"))


@pytest.mark.parametrize(
    ("source", "translation", "lost"),
    [
        ("It costs 1,250 euros.", "Es kostet 120 Euro.", [(LiteralKind.NUMBER, "1.250")]),
        ("It costs 1,250 euros.", "Es kostet 1,250 Euro.", [(LiteralKind.NUMBER, "1.250")]),  # another number in German
        ("It costs 1,250 euros.", "Es kostet 1.250 Euro.", []),
        ("It costs 1,250 euros.", "Es kostet 1250 Euro.", []),
        ("It costs 12.5 euros.", "Es kostet 125,0 Euro.", [(LiteralKind.NUMBER, "12,5")]),
        ("It costs 71.5 euros.", "Es kostet 715 Euro.", [(LiteralKind.NUMBER, "71,5")]),
        ("It is from 2024-01-31.", "Es ist vom 31.1.2024.", []),
        ("It is from 2024-01-31.", "Es ist vom 31.2.2024.", [(LiteralKind.NUMBER, "2024-01-31")]),
        ("It is 14:35.", "Es ist 14.35 Uhr.", []),
        ("She has 7 books.", "Sie hat sieben Bücher.", []),
        ("She has 71 books.", "Sie hat 710 Bücher.", [(LiteralKind.NUMBER, "71")]),
        ("It is 2:30 p.m. now.", "Es ist jetzt 14:30.", []),
        ("It is 2:30 p.m. now.", "Es ist jetzt 2.30 Uhr.", []),
        ("It is 2:30 p.m. now.", "Es ist jetzt 230 Uhr.", [(LiteralKind.NUMBER, "14:30")]),
        ("It is 12:05 a.m. now.", "Es ist jetzt 125.", [(LiteralKind.NUMBER, "0:05")]),
        ("It is 5 p.m. now.", "Es ist jetzt fünf Uhr.", []),
        ("It costs $7.", "Es kostet sieben Dollar.", [(LiteralKind.NUMBER, "7")]),  # amounts of money are not spelt
        ("It is May 12, 1987.", "Es ist der 12787.", [(LiteralKind.NUMBER, "12. Mai 1987")]),
        ("It is May 12, 1987.", "Es ist der 12. Mai 1987.", []),
        ("It is 12 May 1987.", "Es ist der 12.05.1987.", []),
        ("It is May 12th.", "Es ist der 12. Juni.", [(LiteralKind.NUMBER, "12. Mai")]),
        ("Ask Nakamura.", "Frag Nakura.", [(LiteralKind.NAME, "Nakamura")]),
        ("Ask Nakamura.", "Frag Nakamura.", []),
        ("She has 7 books.", "Sie hat alle Bücher.", [(LiteralKind.NUMBER, "7")]),
        ("She has 2 books.", "Sie hat beide Bücher.", []),
        ("She has 1 book.", "Sie hat ein Buch.", []),
        ("It is 9 am.", "Es ist neun Uhr.", []),
        ("It is 9 pm.", "Es ist 21 Uhr.", []),
        ("It is 9 am.", "Es ist früh.", [(LiteralKind.NUMBER, "9 Uhr")]),
        ("It is -12 degrees.", "Es sind -12 Grad.", []),
        ("It is -12 degrees.", "Es sind minus 12 Grad.", []),
        ("It is -12 degrees.", "Es sind 12 Grad.", [(LiteralKind.NUMBER, "-12")]),
        ("It is 12 °C.", "Es sind 12 °C.", []),
        ("See Python 3.11.", "Siehe Python 3.11.", []),
        ("See Python 3.11.", "Siehe Python 3,11.", []),
        ("See Python 3.11.", "Siehe Python 311.", [(LiteralKind.NUMBER, "3,11")]),
        ("It is from May 1987.", "Es ist vom Mai 1987.", []),
        ("It is from May 1987.", "Es ist von 1987.", [(LiteralKind.NUMBER, "Mai 1987")]),
        (
            "Zoltan Nakamura asks Ada Nakura in the books.",
            "Zoltan fragt Ada.",
            [(LiteralKind.NAME, "Zoltan Nakamura"), (LiteralKind.NAME, "Ada Nakura")],
        ),
        ("They came on Tuesday.", "Sie kamen am Dienstag.", []),  # rare here, and a word all the same
        ("Ask in Mexico.", "Frag in Mexiko.", []),
        ("Ask in Mexico.", "Frag in Mexio.", [(LiteralKind.NAME, "Mexico")]),
        ("They came on Monday.", "Sie kamen am Montag.", []),  # a frequent word, which is translated
        ("Costs are high.", "Die Kosten sind hoch.", []),  # a frequent word, at the beginning of a sentence
        ("All The News That Nakamura Prints", "Alle Nachrichten von N.", []),  # a title
        ("See a_b.pdf at www.x.de.", "Siehe dort.", [(LiteralKind.CODE, "a_b.pdf"), (LiteralKind.ADDRESS, "www.x.de")]),
        ("See max_retries.", "Siehe Max_retries.", [(LiteralKind.CODE, "max_retries")]),  # whose case matters
        ("Ask NAKAMURA.", "Frag Nakamura.", []),  # as that of a name does not,
        ("Ask Nakamura.", "Frag nakamura.", [(LiteralKind.NAME, "Nakamura")]),  # but for its capital
        ("A 16-year-old has 20-30 books.", "Ein 16-Jähriger hat 20-30 Bücher.", []),
        ("Good morning!", "Guten Morgen!", []),
    ],
)
def test_what_is_lost_is_found(
    losses: Losses, source: str, translation: str, lost: list[tuple[LiteralKind, str]]
) -> None:
    assert [(each.kind, each.text) for each in losses.find(source, translation)] == lost


def test_capitals_tell_no_name_in_german(pieces: Tokenizer) -> None:
    losses = Losses(pieces, pieces, ("de", "en"))
    assert losses.find("Das ist ein Hausdach.", "This is a roof.") == []
    (garbled,) = losses.find("Er fragt den Nakamura.", "He asks Nakura.")
    assert (garbled.text, garbled.may_be_noun, garbled.is_bare) == ("Nakamura", True, False)
    (bare,) = losses.find("Das ist das Haus in Nakamura.", "It is the house.")
    assert (bare.text, bare.may_be_noun, bare.is_bare) == ("Nakamura", False, True)
    assert losses.find("Er fragt den Computer.", "He asks the computer.") == []


@pytest.mark.parametrize("translation", ["Zoltan hat Nakamura.", "Nakamura.", "Zoltan Nakura.", "Nakamura Zoltan."])
@pytest.mark.parametrize("particles", ["", "van der "])
def test_names_that_follow_one_another_are_one(losses: Losses, translation: str, particles: str) -> None:
    (whole,) = losses.find(f"Zoltan {particles}Nakamura has books.", translation)
    assert (whole.text, whole.may_be_word) == (f"Zoltan {particles}Nakamura", False)
    assert not whole.stands(translation)
    assert whole.stands(f"Das ist Zoltan {particles}Nakamura.")


def test_names_that_stand_for_placeholders_are_parts_of_names(losses: Losses) -> None:
    assert [each.text for each in losses.find("She has Tom Nakamura.", "Sie hat Tom.")] == ["Tom Nakamura"]
    assert [each.text for each in losses.find("She has books of Nakamura Tom.", "Sie.")] == ["Nakamura Tom"]
    assert losses.find("She has Tom.", "Sie hat ihn.") == []


def test_a_name_with_a_capital_inside_is_part_of_a_name(losses: Losses) -> None:
    assert [each.text for each in losses.find("She has the books of Zoltan McNakamura.", "Sie.")] == [
        "Zoltan McNakamura"
    ]
    assert [each.kind for each in losses.find("Ask McNakamura.", "Frag.")] == [LiteralKind.CODE]


def test_a_single_word_may_begin_a_sentence_and_be_no_name(losses: Losses) -> None:
    first, second = losses.find("Zoltan and Nakamura.", "Er und sie.")
    assert (first.may_be_word, second.may_be_word) == (True, False)


@pytest.mark.parametrize(
    ("translation", "is_lost"),
    [
        ("Grüße Nakamura!", False),  # the first word was translated
        ("Greefings Nakamura!", True),  # and here garbled, so it may be a name
        ("Ich habe Nakamura!", True),
        ("Greetings Nakamura!", False),
    ],
)
def test_a_word_before_a_name_may_be_translated(losses: Losses, translation: str, is_lost: bool) -> None:
    assert bool(losses.find("Greetings Nakamura, she has books.", translation)) == is_lost


def test_numbers_keep_their_marks_where_a_language_is_not_known(pieces: Tokenizer) -> None:
    assert Losses(pieces, pieces, ("en", "xx")).find("1,250", "12") == [ExpectedLiteral(LiteralKind.NUMBER, "1,250")]


def test_a_half_day_may_be_written_in_three_ways(losses: Losses) -> None:
    (lost,) = losses.expected("It is 2:30 p.m. now.")
    assert {lost.text, *lost.others} == {"14:30", "2:30", "14.30", "2.30"}
