"""Which tokens of a batch a decoder computes."""

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from heed.models.runtime.state import GROUP, _computed

LIVE = arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=20)).filter(np.any)


@given(LIVE)
def test_a_live_token_s_row_is_its_own(live: npt.NDArray[np.bool_]) -> None:
    tokens, rows = _computed(live.shape, live)
    numbers = np.arange(live.size).reshape(live.shape)
    assert (tokens[rows][live] == numbers[live]).all()
    if len(tokens) == live.size:  # these are outputs as they are
        assert (tokens == numbers.ravel()).all()
    else:
        assert len(tokens) % GROUP == 0
        assert len(tokens) - live.sum() < GROUP


@given(st.integers(1, 9), st.integers(1, 9))
def test_without_a_choice_every_token_is_computed(n_rows: int, n_beams: int) -> None:
    tokens, rows = _computed((n_rows, n_beams), None)
    assert (tokens[rows].ravel() == np.arange(n_rows * n_beams)).all()
