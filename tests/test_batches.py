import itertools
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from heed.models.tokenizer import Tokenizer
from heed.transformer.batches import Batch, Batches, plan_batches
from heed.transformer.corpus import Corpus, TokenLists

Lists = list[list[int]]

# Every pair has a source token of its own, by which it can be told from the others.
LENGTHS = st.lists(st.tuples(st.integers(0, 6), st.integers(1, 9)), min_size=1, max_size=25)
BUDGETS = st.integers(2, 60)


def numbered(lengths: Sequence[tuple[int, int]]) -> tuple[Lists, Lists]:
    src = [[100 + i, *[5] * n_src] for i, (n_src, _) in enumerate(lengths)]
    tgt = [list(range(200 + i, 200 + i + n_tgt)) for i, (_, n_tgt) in enumerate(lengths)]
    return src, tgt


@pytest.fixture(scope="module")
def tokenizer(digits: Tokenizer) -> Tokenizer:
    """Only its special ids count here."""
    return digits


def make(tokenizer: Tokenizer, lengths: Sequence[tuple[int, int]], batch_tokens: int) -> Batches:
    src, tgt = (TokenLists(lists) for lists in numbered(lengths))
    return Batches(Corpus(src, tgt, n_empty=0, n_long=0), tokenizer, tokenizer, batch_tokens=batch_tokens)


def pairs_in(batch: Batch) -> list[int]:
    return (batch.src[:, 0] - 100).tolist()


def same(one: Batch, other: Batch) -> bool:
    return (
        all(torch.equal(getattr(one, side), getattr(other, side)) for side in ("src", "tgt", "targets"))
        and one.n_tokens == other.n_tokens
    )


@given(LENGTHS, BUDGETS)
def test_a_plan_holds_every_pair_once_within_the_budget(lengths: list[tuple[int, int]], budget: int) -> None:
    src, tgt = np.array(lengths).T
    plan = plan_batches(src, tgt, batch_tokens=budget)
    assert sorted(i for batch in plan for i in batch) == list(range(len(lengths)))
    for batch in plan:
        for side in (src, tgt):
            assert len(batch) == 1 or (side[batch].max() + 1) * len(batch) <= budget


@given(LENGTHS, BUDGETS)
def test_no_batch_could_take_the_next_pair(lengths: list[tuple[int, int]], budget: int) -> None:
    longest = np.array(lengths).max(axis=1) + 1
    plan = plan_batches(*np.array(lengths).T, batch_tokens=budget)
    for batch, following in itertools.pairwise(plan):
        assert (len(batch) + 1) * longest[following[0]] > budget


@given(LENGTHS, BUDGETS, st.integers(0, 3), st.integers(0, 3))
def test_an_epoch_holds_every_pair_once(
    tokenizer: Tokenizer, lengths: list[tuple[int, int]], budget: int, epoch: int, seed: int
) -> None:
    batches = make(tokenizer, lengths, budget)
    found = list(batches.epoch(epoch, seed))
    assert sorted(i for batch in found for i in pairs_in(batch)) == list(range(len(lengths)))
    for batch in found:
        assert len(batch.src) == 1 or max(batch.src.numel(), batch.tgt.numel()) <= budget


@given(LENGTHS, BUDGETS, st.integers(0, 3), st.integers(0, 3))
def test_the_order_is_a_function_of_seed_and_epoch(
    tokenizer: Tokenizer, lengths: list[tuple[int, int]], budget: int, epoch: int, seed: int
) -> None:
    once, again = (list(make(tokenizer, lengths, budget).epoch(epoch, seed)) for _ in range(2))
    assert all(same(*two) for two in zip(once, again, strict=True))


@given(LENGTHS, BUDGETS, st.integers(0, 5))
def test_beginning_at_a_batch_is_skipping_those_before(
    tokenizer: Tokenizer, lengths: list[tuple[int, int]], budget: int, start: int
) -> None:
    batches = make(tokenizer, lengths, budget)
    skipped, whole = list(batches.epoch(2, 7, start)), list(batches.epoch(2, 7))
    assert all(same(*two) for two in zip(skipped, whole[start:], strict=True))


def test_another_epoch_and_another_seed_have_other_batches(tokenizer: Tokenizer) -> None:
    batches = make(tokenizer, [(3, 4)] * 40, batch_tokens=25)
    orders = [[pairs_in(batch) for batch in batches.epoch(epoch, seed)] for epoch, seed in ((0, 1), (1, 1), (0, 2))]
    # Neither the order of the batches alone, nor their neighbours alone, is new.
    as_sets = [{frozenset(batch) for batch in order} for order in orders]
    assert as_sets[0] != as_sets[1] != as_sets[2] != as_sets[0]


def test_batches_come_in_no_order_of_length(tokenizer: Tokenizer) -> None:
    """A network trained from short to long in every epoch would forget the short."""
    batches = make(tokenizer, [(length, 1) for length in range(30)], batch_tokens=40)
    widths = [batch.src.shape[1] for batch in batches.epoch(0, 1)]
    assert widths not in (sorted(widths), sorted(widths, reverse=True))


def test_validation_goes_by_length(tokenizer: Tokenizer) -> None:
    batches = make(tokenizer, [(4, 4), (0, 1), (2, 3), (0, 9)], batch_tokens=8)
    assert [i for batch in batches.in_order() for i in pairs_in(batch)] == [1, 2, 0, 3]


def test_the_targets_are_the_decoder_s_input_one_token_later(tokenizer: Tokenizer) -> None:
    batches = make(tokenizer, [(2, 1), (0, 3)], batch_tokens=100)
    (batch,) = batches.in_order()
    pad, bos, eos = tokenizer.pad_id, tokenizer.bos_id, tokenizer.eos_id
    assert len({pad, bos, eos}) == 3
    assert batch.src.tolist() == [[100, 5, 5, eos], [101, eos, pad, pad]]
    assert batch.tgt.tolist() == [[bos, 200, pad, pad], [bos, 201, 202, 203]]
    assert batch.targets.tolist() == [[200, eos, pad, pad], [201, 202, 203, eos]]
    assert batch.n_tokens == 2 + 4
