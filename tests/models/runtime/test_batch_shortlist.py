import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnxruntime import OrtValue

from heed.models.arrays import IntArray
from heed.models.runtime.shortlist import BatchShortlist

V, ALWAYS = 20, [0, 3, 7]  # the vocabulary, and what every shortlist has
Own = list[set[int]]  # the other tokens of each sentence
OWN: st.SearchStrategy[Own] = st.lists(
    st.sets(st.integers(0, V - 1).filter(lambda token: token not in ALWAYS)), min_size=1, max_size=5
)


def graph_outputs(own: Own, *, old: bool) -> dict[str, OrtValue]:
    """What the graph `shortlist` puts out, in its present form or the one before."""
    others = sorted(set().union(*own)) or [1]
    longest = max(1, *map(len, own))
    masks = [[0.0 if token in each else -np.inf for token in others] for each in own]
    found = {
        "shortlist_ids": np.array([*ALWAYS, *others]),
        "shortlist_columns": np.zeros((6, len(others)), dtype=np.int8),
        "shortlist_scales": np.ones(len(others), dtype=np.float32),
        "shortlist_mask": np.array(masks, dtype=np.float32)[:, None],
    }
    if not old:
        places = [[others.index(token) for token in sorted(each)] for each in own]
        found["shortlist_places"] = np.array([[*row, *[0] * (longest - len(row))] for row in places])
        real = [[0.0] * len(row) + [-np.inf] * (longest - len(row)) for row in places]
        found["shortlist_mask"] = np.array(real, dtype=np.float32)
    return {name: OrtValue.ortvalue_from_numpy(array) for name, array in found.items()}


def log_probs(shortlist: BatchShortlist) -> IntArray:
    """For each sentence, at the place of each token that is not refused, its number."""
    mask = shortlist.values["shortlist_mask"].numpy()
    mask = mask.reshape(len(mask), -1)
    ids = np.broadcast_to(shortlist.ids, (len(mask), shortlist.n_tokens)).copy()
    ids[:, ids.shape[1] - mask.shape[1] :][np.isinf(mask)] = -1
    return ids


@given(OWN, st.booleans(), st.data())
def test_the_tokens_of_each_sentence_are_found(own: Own, old: bool, data: st.DataObject) -> None:
    shortlist = BatchShortlist(graph_outputs(own, old=old), V, "cpu")
    kept = data.draw(st.permutations(range(len(own))).flatmap(lambda rows: st.just(rows[: len(rows) // 2 + 1])))
    for rows in (range(len(own)), kept):
        if rows is kept:
            shortlist.keep(np.array(rows))
        every = np.tile(np.arange(V), (len(rows), 1, 1))
        places, there = shortlist.find(every)
        ids = log_probs(shortlist)
        for number, row in enumerate(rows):
            assert set(np.flatnonzero(there[number, 0])) == {*ALWAYS, *own[row]}
            assert all(ids[number, places[number, 0, token]] == token for token in (*ALWAYS, *own[row]))


@pytest.mark.parametrize("old", [False, True])
def test_a_row_is_copied_before_it_is_overwritten(old: bool) -> None:
    own = [{1}, {2, 4}, {5}]
    shortlist = BatchShortlist(graph_outputs(own, old=old), V, "cpu")
    shortlist.keep(np.array([2, 1]))
    shortlist.keep(np.array([1]))
    assert set(log_probs(shortlist)[0].tolist()) - {-1} == {*ALWAYS, 2, 4}
