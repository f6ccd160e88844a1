import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from heed.models.decoding.config import DecodeConfig
from heed.models.decoding.repetition import TIMES, is_loop, most_times, repeats, without_repetition
from heed.models.decoding.sampling import penalized, repeating

TOKENS = st.lists(st.integers(0, 3), max_size=12)
DISTINCT = st.lists(st.integers(10, 99), min_size=1, max_size=6, unique=True)


@given(TOKENS, st.integers(1, 4))
def test_what_repeats_in_a_search_is_what_repeats_in_a_sample(before: list[int], n: int) -> None:
    found = repeats(np.array([[before]], dtype=np.int64), np.arange(4)[None, None], n)
    assert np.flatnonzero(found[0, 0]).tolist() == sorted(set(repeating(np.array(before, dtype=np.int64), n).tolist()))


@given(TOKENS, st.floats(1, 3, width=32))
def test_a_search_penalizes_as_a_sample_does(before: list[int], penalty: float) -> None:
    log_probs = np.log(np.array([0.1, 0.2, 0.3, 0.4], dtype=np.float32))
    config = DecodeConfig(repetition_penalty=penalty)
    outputs = np.array([[before]], dtype=np.int64)
    (found,) = without_repetition(outputs, np.arange(4)[None, None], log_probs[None, None], config)[0]
    np.testing.assert_array_equal(found, penalized(log_probs, np.array(before, dtype=np.int64), penalty))


@given(TOKENS)
def test_repetition_is_counted_as_by_looking_at_every_place(tokens: list[int]) -> None:
    counts = [
        times
        for start in range(len(tokens))
        for size in range(1, len(tokens) - start + 1)
        for times in range(1, len(tokens) // size + 1)
        if tokens[start : start + size] * times == tokens[start : start + size * times]
    ]
    assert most_times(tokens) == max(counts, default=0)


@given(DISTINCT, DISTINCT, st.integers(1, 8))
def test_a_loop_is_a_phrase_again_and_again(source: list[int], phrase: list[int], times: int) -> None:
    assert is_loop([1, 2, *phrase * times, 3], source) == (times >= TIMES)


@given(DISTINCT, st.integers(1, 30))
def test_a_source_may_repeat_what_it_likes(phrase: list[int], times: int) -> None:
    assert not is_loop([token + 1 for token in phrase * times], phrase * times)
