import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from heed.models.arrays import BoolArray
from heed.models.runtime.state import _computed

SHAPES = st.tuples(st.integers(1, 9), st.integers(1, 6))


@given(SHAPES.flatmap(lambda shape: arrays.arrays(bool, shape)))
def test_each_live_token_is_found_in_its_row(live: BoolArray) -> None:
    """Where groups made the rows as many as the tokens, they were once taken to be in the order of the tokens."""
    live.flat[0] = True
    tokens, rows = _computed(live.shape, live)
    assert len(tokens) <= live.size
    numbers = np.arange(live.size).reshape(live.shape)
    np.testing.assert_array_equal(tokens[rows][live], numbers[live])
    if len(tokens) == live.size:  # then nothing has to be put in order
        np.testing.assert_array_equal(tokens, numbers.ravel())


def test_without_a_mask_all_are_computed() -> None:
    tokens, rows = _computed((3, 2), None)
    assert tokens.tolist() == [0, 1, 2, 3, 4, 5]
    assert rows.tolist() == [[0, 1], [2, 3], [4, 5]]
