import itertools

from hypothesis import given
from hypothesis import strategies as st

from heed.models.tasks.translation.translation import Sentence, Translation, combine

SCORES = st.lists(st.lists(st.integers(-9, 0), min_size=1, max_size=4).map(sorted), min_size=1, max_size=4)


@given(SCORES, st.integers(1, 6))
def test_the_best_combinations_are_those_of_a_plain_search(scores: list[list[int]], n: int) -> None:
    choices = [
        [Translation(f"{i}.{j}", [i, j], 2.0 * score, float(score)) for j, score in enumerate(row[::-1])]
        for i, row in enumerate(scores)
    ]
    line = [(Sentence("", [1], "", " "), row) for row in choices]
    every = sorted((sum(each.score for each in chosen) for chosen in itertools.product(*choices)), reverse=True)
    found = combine(line, n)
    assert [each.score for each in found] == every[:n]
    for each in found:
        chosen = [choices[i][j] for i, j in zip(each.tokens[::2], each.tokens[1::2], strict=True)]
        assert each.text == "".join(f"{part.text} " for part in chosen)
        assert each.score == sum(part.score for part in chosen)
        assert each.log_prob == 2 * each.score
    assert len({each.text for each in found}) == len(found)


def test_sentences_without_space_between_get_one_where_their_script_has_it() -> None:
    def join(*texts: str) -> str:
        return combine([(Sentence("", [1], "", ""), [Translation(text, [1], 0, 0)]) for text in texts], 1)[0].text

    assert join("One.", "Two.") == "One. Two."
    assert join("一。", "二。") == "一。二。"
