import itertools
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from heed.models.spec.network import NetworkSpec
from heed.models.spec.stack import AttentionSpec, StackSpec
from heed.models.tokenizers.subwords import Tokenizer
from heed.transformer.data.batching.batches import Batch, Batches
from heed.transformer.data.batching.bucketing import cuts, even_cuts, plan_batches
from heed.transformer.data.batching.order import Order
from heed.transformer.data.batching.pairs import Pairs
from heed.transformer.masks import padding_mask
from heed.transformer.model import Transformer
from heed.transformer.training.objectives.loss import smoothed_cross_entropy

Lists = list[list[int]]

# Every pair has a source token of its own, by which it can be told from the others.
LENGTHS = st.lists(st.tuples(st.integers(0, 6), st.integers(1, 9)), min_size=1, max_size=25)
BUDGETS = st.integers(2, 60)
WINDOWS = st.integers(1, 30)  # pairs of a window


def numbered(lengths: Sequence[tuple[int, int]]) -> tuple[Lists, Lists]:
    src = [[100 + i, *[5] * n_src] for i, (n_src, _) in enumerate(lengths)]
    tgt = [list(range(200 + i, 200 + i + n_tgt)) for i, (_, n_tgt) in enumerate(lengths)]
    return src, tgt


@pytest.fixture(scope="module")
def tokenizer(digits: Tokenizer) -> Tokenizer:
    """Only its special ids count here."""
    return digits


def make(tokenizer: Tokenizer, lengths: Sequence[tuple[int, int]], batch_tokens: int) -> Batches:
    return Batches([Pairs.of(*numbered(lengths))], tokenizer, tokenizer, batch_tokens=batch_tokens)


def pairs_in(batch: Batch) -> list[int]:
    return (batch.src[:, 0] - 100).tolist()


def same(one: Batch, other: Batch) -> bool:
    return (
        all(torch.equal(getattr(one, side), getattr(other, side)) for side in ("src", "tgt", "targets"))
        and one.share == other.share
    )


@given(LENGTHS, BUDGETS)
def test_a_plan_holds_every_pair_once_within_the_budget(lengths: list[tuple[int, int]], budget: int) -> None:
    src, tgt = np.array(lengths).T
    plan = plan_batches(src, tgt, batch_tokens=budget)
    assert sorted(i for batch in plan for i in batch) == list(range(len(lengths)))
    for batch in plan:
        for side in (src, tgt):
            assert len(batch) == 1 or (side[batch].max() + 1) * len(batch) <= budget


def windowed(batches: Batches, n_pairs: int) -> Batches:
    """With windows so small that there are several."""
    order = batches._order
    batches._order = Order(order.sizes, order.weights, window=n_pairs)
    return batches


@given(LENGTHS, BUDGETS)
def test_no_batch_could_take_the_next_pair(lengths: list[tuple[int, int]], budget: int) -> None:
    longest = np.array(lengths).max(axis=1) + 1
    plan = plan_batches(*np.array(lengths).T, batch_tokens=budget)
    for batch, following in itertools.pairwise(plan):
        assert (len(batch) + 1) * longest[following[0]] > budget


@given(st.lists(st.integers(1, 9), min_size=1, max_size=40), st.data())
def test_so_many_batches_as_small_as_can_be(lengths: list[int], data: st.DataObject) -> None:
    n_batches = data.draw(st.integers(1, len(lengths)))
    sorted_lengths = np.array(sorted(lengths))
    found = even_cuts(sorted_lengths, n_batches)
    assert len(found) == n_batches
    assert found == sorted(set(found))
    assert found[-1] == len(lengths)
    largest = max(sorted_lengths[end - 1] * (end - begin) for begin, end in itertools.pairwise([0, *found]))
    smallest = next(budget for budget in itertools.count(1) if len(cuts(sorted_lengths, budget)) <= n_batches)
    assert largest <= max(smallest, sorted_lengths[-1])


@given(LENGTHS, BUDGETS, st.integers(0, 3), st.integers(0, 3), WINDOWS)
def test_an_epoch_holds_every_pair_once(
    tokenizer: Tokenizer, lengths: list[tuple[int, int]], budget: int, epoch: int, seed: int, window: int
) -> None:
    batches = windowed(make(tokenizer, lengths, budget), window)
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


@given(LENGTHS, BUDGETS, st.integers(0, 5), WINDOWS)
def test_beginning_at_a_batch_is_skipping_those_before(
    tokenizer: Tokenizer, lengths: list[tuple[int, int]], budget: int, start: int, window: int
) -> None:
    batches = windowed(make(tokenizer, lengths, budget), window)
    skipped, whole = list(batches.epoch(2, 7, start)), list(batches.epoch(2, 7))
    assert all(same(*two) for two in zip(skipped, whole[start:], strict=True))


@given(LENGTHS, BUDGETS, WINDOWS)
def test_the_share_is_that_of_the_pairs_behind(
    tokenizer: Tokenizer, lengths: list[tuple[int, int]], budget: int, window: int
) -> None:
    found = list(windowed(make(tokenizer, lengths, budget), window).epoch(1, 3))
    behind = itertools.accumulate(len(batch.src) for batch in found)
    assert [batch.share for batch in found] == pytest.approx([n_pairs / len(lengths) for n_pairs in behind])
    assert found[-1].share == 1.0


@given(LENGTHS, BUDGETS, st.integers(1, 5))
def test_parts_together_hold_each_pair_once(
    tokenizer: Tokenizer, lengths: list[tuple[int, int]], budget: int, of: int
) -> None:
    pads = tokenizer.pad_id, tokenizer.pad_id, tokenizer.pad_id
    for batch in make(tokenizer, lengths, budget).in_order():
        parts = [batch.part(number, of) for number in range(of)]
        rows = [rows_of(part, pads) for part in parts]
        learnt = [row for part in rows for row in part if row[2]]
        assert sorted(learnt) == sorted(rows_of(batch, pads))
        assert all(len(part) == 1 for part in rows if not part[0][2])  # a surplus part learns nothing
        assert sum(part.n_tokens for part in parts) == batch.n_tokens
        for part in parts:
            assert (part.src != tokenizer.pad_id).any(0).all()  # no column is all padding
            assert (part.tgt != tokenizer.pad_id).any(0).all()
            assert part.tgt.shape == part.targets.shape


def rows_of(batch: Batch, pads: tuple[int, int, int]) -> list[tuple[tuple[int, ...], ...]]:
    """The rows of source, target and what must be predicted, without padding."""
    sides = batch.src.tolist(), batch.tgt.tolist(), batch.targets.tolist()
    return [
        tuple(tuple(token for token in row if token != pad) for row, pad in zip(rows, pads, strict=True))
        for rows in zip(*sides, strict=True)
    ]


def test_cells_and_what_is_in_them_are_counted(tokenizer: Tokenizer) -> None:
    (batch,) = make(tokenizer, [(2, 1), (0, 3)], batch_tokens=100).in_order()
    assert batch.n_cells == 2 * 4 + 2 * 4
    assert batch.n_filled == (4 + 2) + (2 + 4)
    part = batch.part(0, 2)
    assert (part.n_cells, part.n_filled, part.n_tokens) == (4 + 2, 4 + 2, 2)


@pytest.mark.parametrize("of", [1, 2, 3, 7])
def test_the_losses_of_parts_are_that_of_the_whole(tokenizer: Tokenizer, of: int) -> None:
    torch.manual_seed(3)
    V, pad_id = 300, tokenizer.pad_id
    stack = StackSpec(vocab_size=V, n_layers=1, attention=AttentionSpec(n_heads=2, n_kv_heads=2, d_head=8))
    network = Transformer(NetworkSpec(d_model=16, encoder=stack, decoder=stack)).eval()

    def loss(batch: Batch) -> torch.Tensor:
        states, weight = network.states(batch.src, padding_mask(batch.src, pad_id), batch.tgt), network.output_weight
        return smoothed_cross_entropy(states, weight, batch.targets, ignored=pad_id, label_smoothing=0.1)[0]

    (batch,) = make(tokenizer, [(1, 2), (4, 1), (0, 5), (2, 2)], batch_tokens=100).in_order()
    together = torch.stack([loss(batch.part(number, of)) for number in range(of)]).sum()
    torch.testing.assert_close(together, loss(batch))


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
