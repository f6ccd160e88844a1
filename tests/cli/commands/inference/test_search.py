"""How `heed translate` searches, with the default model."""

import json
from collections.abc import Callable

import pytest
from click.testing import Result

from heed.models.decoding.config import DecodeConfig
from heed.models.tasks.translation.translation import Translation
from heed.models.tasks.translation.translator import loops

Heed = Callable[..., Result]
LOOPING = "a" * 39  # which the default model goes on copying


def objects(heed: Heed, lines: list[str], *arguments: object) -> list[dict[str, object]]:
    stdin = "".join(line + "\n" for line in lines).encode()
    result = heed("translate", "--threads", "1", "--json", *arguments, stdin=stdin)
    assert result.exit_code == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_a_search_does_not_end_before_what_is_better(heed: Heed) -> None:
    """It once ended as soon as four hypotheses had, and found "Führe mich nicht vor." with a score of -2.217."""
    (best,), (greedy,) = (objects(heed, ["Do not tempt me."], "--beam-size", size) for size in (4, 1))
    assert best["score"] == greedy["score"]


def test_the_best_list_has_no_empty_translation(heed: Heed) -> None:
    """The fourth best of this line once was."""
    lines = ["I teach English.", "Go!", "Hi.", "Yes"]
    for found in objects(heed, lines, "--no-shortlist", "--n-best", 8, "--beam-size", 8):
        alternatives = found["alternatives"]
        assert isinstance(alternatives, list)
        assert all(str(each["translation"]).strip() for each in [found, *alternatives])


def test_a_loop_is_told_and_can_be_forbidden(heed: Heed) -> None:
    result = heed("translate", "--threads", "1", stdin=f"Good morning!\n{LOOPING}\n".encode())
    assert result.exit_code == 0
    assert result.stderr == (
        "Warning: 1 line repeats a phrase again and again, or does not end: line 2; try --no-repeat-ngram 3\n"
    )
    result = heed("translate", "--threads", "1", "--no-repeat-ngram", 3, stdin=f"Good morning!\n{LOOPING}\n".encode())
    assert result.stderr == ""


def test_a_loop_of_a_source_that_repeats_is_one_where_the_model_does_not_believe_in_it(heed: Heed) -> None:
    """The translation of this line once was in capitals, and repeated "I" nine times."""
    result = heed("translate", "--threads", "1", stdin=b"I I I I I I I I I I I I\n")
    assert "I I I I" not in result.stdout
    source, output = [5] * 12 + [2], [5] * 10
    found = [loops(Translation("", output, log_prob, log_prob), source, DecodeConfig()) for log_prob in (-1.0, -11.0)]
    assert found == [False, True]


def test_an_output_that_does_not_end_is_told(heed: Heed) -> None:
    """But not where the user said how long it may be."""
    told = [
        heed("translate", "--threads", "1", *more, stdin=f"{LOOPING}\n".encode()) for more in ([], ["--max-length", 9])
    ]
    assert ["does not end" in result.stderr for result in told] == [True, False]


def test_repetition_can_be_made_less_likely(heed: Heed) -> None:
    line = "It is a big, big, big, big house."
    plain, penalized = (objects(heed, [line], "--repetition-penalty", penalty)[0] for penalty in (1, 5))
    plain_tokens, tokens = plain["tokens"], penalized["tokens"]
    assert isinstance(plain_tokens, list)
    assert isinstance(tokens, list)
    assert len(set(tokens)) / len(tokens) > len(set(plain_tokens)) / len(plain_tokens)


@pytest.mark.parametrize(
    ("option", "message"),
    [(("--no-repeat-ngram", "0"), "--no-repeat-ngram"), (("--repetition-penalty", "0.5"), "--repetition-penalty")],
)
def test_what_makes_no_sense_is_refused(heed: Heed, option: tuple[str, str], message: str) -> None:
    result = heed("translate", *option, stdin=b"a\n")
    assert result.exit_code == 2
    assert message in result.stderr
