import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from heed.models.spec.network import NetworkSpec
from heed.models.tokenizers.lossless import TextTokenizer
from heed.transformer.data.batching.order import Order
from heed.transformer.data.batching.packing import IGNORED, Packing, TextBatch
from heed.transformer.data.text.documents import Document, tokens_of
from heed.transformer.masks import text_mask
from heed.transformer.model import Transformer
from heed.transformer.training.objectives.loss import smoothed_cross_entropy

CONTEXT = 12
# Of letters, each a token: what a document's tokens are is then seen in its text.
DOCUMENTS = st.lists(
    st.builds(
        Document,
        st.text("ABCDEFGH", min_size=0, max_size=40),
        st.one_of(st.just(""), st.text("abcdf", max_size=30)),
    ),
    min_size=1,
    max_size=12,
)
WINDOWS = st.integers(1, 15)  # documents of a window
Piece = tuple[list[int], list[int]]  # what is read, and what must be predicted


def packed(documents: Sequence[Document], tokenizer: TextTokenizer, batch_tokens: int = 3 * CONTEXT) -> Packing:
    return Packing(tokens_of(documents, tokenizer), tokenizer, context=CONTEXT, batch_tokens=batch_tokens)


def windowed(packing: Packing, n_documents: int) -> Packing:
    """With windows so small that there are several."""
    order = packing._order
    packing._order = Order(order.sizes, order.weights, window=n_documents)
    return packing


def pieces_of(batches: Iterable[TextBatch], tokenizer: TextTokenizer) -> list[list[Piece]]:
    """The pieces of each row; a row's padding, which may only stand at its end, is checked and left out."""
    rows: list[list[Piece]] = []
    for batch in batches:
        for ids, targets, positions in zip(
            batch.ids.tolist(), batch.targets.tolist(), batch.positions.tolist(), strict=True
        ):
            length = next((i for i in range(CONTEXT) if ids[i] == tokenizer.pad_id), CONTEXT)
            for part, filler in ((ids, tokenizer.pad_id), (targets, IGNORED), (positions, 0)):
                assert set(part[length:]) <= {filler}
            begins = [i for i in range(length) if positions[i] == 0]
            assert [i for i in range(length) if ids[i] == tokenizer.bos_id] == begins
            ends = [*begins[1:], length]
            for begin, end in zip(begins, ends, strict=True):
                assert positions[begin:end] == list(range(end - begin))
            rows.append([(ids[begin:end], targets[begin:end]) for begin, end in zip(begins, ends, strict=True)])
        assert batch.n_tokens == (batch.targets != IGNORED).sum()
    return rows


@given(DOCUMENTS, st.integers(0, 20), st.integers(1, 60), WINDOWS)
def test_every_token_is_learnt_once_an_epoch(
    verbatim: TextTokenizer, documents: list[Document], epoch: int, batch_tokens: int, window: int
) -> None:
    """And what is given never; after the beginning, what is read is what had to be predicted."""
    packing = windowed(packed(documents, verbatim, batch_tokens), window)
    expected = Counter(token for document in documents for token in (*verbatim.encode(document.text), verbatim.eos_id))
    for batches in (list(packing.epoch(epoch, 1)), list(packing.in_order())):
        rows = pieces_of(batches, verbatim)
        found: Counter[int] = Counter()
        for ids, targets in (piece for row in rows for piece in row):
            found.update(target for target in targets if target != IGNORED)
            for read, target in zip(ids[1:], targets, strict=False):
                assert target in (read, IGNORED)
        assert found == expected
        assert all(batch.n_tokens for batch in batches)  # the mean of no token is no number


@given(DOCUMENTS)
def test_in_order_rows_are_the_documents_one_after_another(verbatim: TextTokenizer, documents: list[Document]) -> None:
    documents = [Document(document.text) for document in documents]
    rows = pieces_of(packed(documents, verbatim).in_order(), verbatim)
    found = [target for row in rows for _, targets in row for target in targets]
    expected = [token for document in documents for token in (*verbatim.encode(document.text), verbatim.eos_id)]
    assert found == expected
    assert [sum(len(ids) for ids, _ in row) for row in rows[:-1]] == [CONTEXT] * (len(rows) - 1)  # no padding
    # No piece has tokens of two documents.
    assert all(verbatim.eos_id not in targets[:-1] for row in rows for _, targets in row)


@given(DOCUMENTS, st.integers(0, 20))
def test_only_the_ends_of_an_epoch_are_padded(verbatim: TextTokenizer, documents: list[Document], epoch: int) -> None:
    documents = [Document(document.text) for document in documents]
    rows = pieces_of(packed(documents, verbatim).epoch(epoch, 1), verbatim)
    lengths = sorted(sum(len(ids) for ids, _ in row) for row in rows)
    assert lengths[2:] == [CONTEXT] * len(lengths[2:])


@given(DOCUMENTS, st.integers(0, 20))
def test_what_is_given_stands_before_what_is_learnt(
    verbatim: TextTokenizer, documents: list[Document], epoch: int
) -> None:
    """A completion without its prompt would teach another task; where both are too long, the prompt's end is read."""
    pairs = Counter(
        (document.prompt + document.text)[-CONTEXT + 1 :]
        for document in documents
        if document.prompt and len(document.text) < CONTEXT - 1  # and with the end token, some of the prompt fits
    )
    found: Counter[str] = Counter()
    for row in pieces_of(packed(documents, verbatim).epoch(epoch, 1), verbatim):
        for ids, targets in row:
            if targets[-1] == verbatim.eos_id:
                found[verbatim.decode(ids)] += 1
    assert pairs <= found


@given(DOCUMENTS, st.integers(0, 3), st.integers(0, 9), WINDOWS)
def test_an_epoch_is_the_same_every_time_and_can_begin_anywhere(
    verbatim: TextTokenizer, documents: list[Document], epoch: int, start: int, window: int
) -> None:
    packing, again = (windowed(packed(documents, verbatim), window) for _ in range(2))
    whole, rest = list(packing.epoch(epoch, 5)), list(again.epoch(epoch, 5, start))
    shares = [batch.share for batch in whole]
    assert shares == sorted(set(shares))
    assert shares[-1] == 1.0
    assert len(rest) == max(0, len(whole) - start)
    for found, expected in zip(rest, whole[start:], strict=True):
        for name in ("ids", "targets", "positions"):
            assert torch.equal(getattr(found, name), getattr(expected, name))
        assert found.share == expected.share


def _learnt(batch: TextBatch) -> list[tuple[list[int], list[int]]]:
    """The rows of a batch of which something is learnt."""
    rows = zip(batch.ids.tolist(), batch.targets.tolist(), strict=True)
    return [(ids, targets) for ids, targets in rows if set(targets) != {IGNORED}]


@given(DOCUMENTS, st.integers(1, 5))
def test_parts_together_hold_each_row_once(verbatim: TextTokenizer, documents: list[Document], of: int) -> None:
    for batch in packed(documents, verbatim).in_order():
        parts = [batch.part(number, of) for number in range(of)]
        rows = [row for part in parts for row in _learnt(part)]
        assert sorted(rows) == sorted(_learnt(batch))
        assert all(len(part.ids) for part in parts)
        assert sum(part.n_tokens for part in parts) == batch.n_tokens
        assert (batch.n_cells, batch.n_filled) == (batch.ids.numel(), int((batch.ids != verbatim.pad_id).sum()))


def test_other_epochs_and_seeds_cut_elsewhere(verbatim: TextTokenizer) -> None:
    packing = packed([Document("".join(random.Random(1).choices("ABCDEFGH", k=200)))], verbatim)

    def cuts(epoch: int, seed: int) -> frozenset[str]:
        rows = pieces_of(packing.epoch(epoch, seed), verbatim)
        return frozenset(verbatim.decode(ids) for row in rows for ids, _ in row)

    assert len({cuts(epoch, 1) for epoch in range(100)}) == CONTEXT
    assert len({cuts(0, seed) for seed in range(100)}) == CONTEXT
    orders = [[batch.ids.tolist() for batch in packing.epoch(epoch, 1)] for epoch in range(2)]
    assert orders[0] != orders[1]


def test_a_batch_has_as_many_rows_as_fit_and_at_least_one(verbatim: TextTokenizer) -> None:
    documents = [Document("ABCDEFGH" * 20)]
    for batch_tokens, n_rows in ((1, 1), (CONTEXT, 1), (3 * CONTEXT - 1, 2), (3 * CONTEXT, 3)):
        batches = list(packed(documents, verbatim, batch_tokens).in_order())
        assert {batch.ids.shape for batch in batches[:-1]} == {(n_rows, CONTEXT)}


def test_a_text_longer_than_a_row_begins_anew_in_each(verbatim: TextTokenizer) -> None:
    """Each token is still predicted from what came before it in the row."""
    text = "ABCDEFGH" * 4
    (first,), (second,), (third,) = pieces_of(packed([Document(text)], verbatim).in_order(), verbatim)
    assert [verbatim.decode(ids) for ids, _ in (first, second, third)] == [text[:11], text[12:23], text[24:]]
    assert [verbatim.decode(targets) for _, targets in (first, second, third)] == [text[:12], text[12:24], text[24:]]


@pytest.mark.parametrize(
    "form",
    [
        {"positions": "learned"},
        {"positions": "rotary", "norm_kind": "rms", "activation": "silu", "gated": True, "biases": False},
    ],
    ids=["learned", "rotary"],
)
def test_the_loss_of_packed_documents_is_that_of_each_alone(
    verbatim: TextTokenizer, describe: Callable[..., NetworkSpec], form: dict[str, object]
) -> None:
    documents = [
        Document("ABC"),
        Document(""),
        Document("", "abc"),
        Document("H"),
        Document("DEF", "abcd"),
        Document("GGGG", "h"),
    ]
    spec = describe("generate", vocab_size=len(verbatim), context=CONTEXT, n_kv_heads=1, **form)
    network = Transformer(spec).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    alone = 0.0
    for document in documents:
        prompt, text = verbatim.encode(document.prompt), verbatim.encode(document.text)
        ids = torch.tensor([[verbatim.bos_id, *prompt, *text]])
        log_probs = network(tgt=ids).log_softmax(-1)
        for place, token in enumerate([*text, verbatim.eos_id], len(prompt)):
            alone -= log_probs[0, place, token].item()
    together = 0.0
    packing = packed(documents, verbatim)
    epochs = (list(packing.epoch(epoch, 1)) for epoch in range(50))
    whole = next(e for e in epochs if sum(int((batch.ids == verbatim.bos_id).sum()) for batch in e) == len(documents))
    for batch in whole:  # in which no document is cut
        states, weight = network.states(tgt=batch.ids, positions=batch.positions), network.output_weight
        nll = smoothed_cross_entropy(states, weight, batch.targets, ignored=IGNORED, label_smoothing=0.0)[1]
        together += nll.item()
    assert_close(together, alone, rtol=1e-5, atol=0)


@given(st.lists(st.lists(st.integers(1, 7), min_size=1, max_size=5), min_size=1, max_size=3))
def test_a_token_sees_its_own_text_up_to_itself(rows: list[list[int]]) -> None:
    """Against a plain loop; rows are padded with position 0, as in a batch, and padding sees itself."""
    T = max(map(sum, rows))
    positions = torch.zeros(len(rows), T, dtype=torch.int64)
    texts = []
    for row, lengths in enumerate(rows):
        names = [text for text, length in enumerate(lengths) for _ in range(length)]
        positions[row, : len(names)] = torch.cat([torch.arange(length) for length in lengths])
        texts.append([*names, *range(-T, len(names) - 2 * T, -1)][:T])
    mask = text_mask(positions)
    assert mask.shape == (len(rows), 1, T, T)
    for row, names in enumerate(texts):
        for query in range(T):
            for key in range(T):
                assert mask[row, 0, query, key] == (key <= query and names[key] == names[query])
