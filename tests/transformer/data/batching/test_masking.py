"""Masked rows of text."""

import numpy as np
import pytest

from heed.models.tokenizers.lossless import MASK, TextTokenizer
from heed.transformer.data.batching.masking import MaskedPacking
from heed.transformer.data.batching.packing import IGNORED, Packing
from heed.transformer.data.text.documents import Document, tokens_of
from heed.transformer.data.vocabulary import train_tokenizer

LINES = ["the cat sat on the mat\n", "the dog ate the cat\n", "a hat, a rat, and that\n"] * 20
CONTEXT = 24


@pytest.fixture(scope="module")
def tokenizer() -> TextTokenizer:
    """A vocabulary with a mask."""
    return TextTokenizer(train_tokenizer(LINES, vocab_size=290, name="cats", verbatim=True, control=[MASK]), "cats")


def masked(tokenizer: TextTokenizer, share: float = 0.15) -> MaskedPacking:
    documents = [Document("".join(LINES)), Document(LINES[0])]
    packing = Packing(tokens_of(documents, tokenizer), tokenizer, context=CONTEXT, batch_tokens=8 * CONTEXT)
    return MaskedPacking(packing, tokenizer, share)


def test_the_mask_is_no_text(tokenizer: TextTokenizer) -> None:
    assert tokenizer.mask_id is not None
    assert tokenizer.mask_id not in tokenizer.encode(f"a {MASK} b")
    assert tokenizer.decode(tokenizer.encode(f"a {MASK} b")) == f"a {MASK} b"
    assert tokenizer.token_bytes([tokenizer.mask_id]) == b""


def test_rows_are_text_between_special_tokens_of_which_some_are_to_be_predicted(tokenizer: TextTokenizer) -> None:
    """What is not to be predicted is as it was, and of what is, 8 of 10 are masks."""
    n_chosen, n_masks, n_kept, n_tokens = 0, 0, 0, 0
    for epoch in range(40):
        for batch in masked(tokenizer).epoch(epoch, 1):
            ids, targets = batch.ids.numpy(), batch.targets.numpy()
            whole = np.where(targets != IGNORED, targets, ids)
            lengths = (whole != tokenizer.pad_id).sum(axis=1)
            assert ids.shape[1] == CONTEXT + 2
            assert (whole[:, 0] == tokenizer.bos_id).all()
            assert (whole[np.arange(len(whole)), lengths - 1] == tokenizer.eos_id).all()
            assert tokenizer.mask_id not in whole
            assert ((ids == tokenizer.pad_id) == (whole == tokenizer.pad_id)).all()
            text = b"".join(tokenizer.token_bytes(row.tolist()) for row in whole)
            assert set(text.decode()) <= set("".join(LINES))
            chosen = targets != IGNORED
            n_chosen, n_masks = n_chosen + chosen.sum(), n_masks + (ids[chosen] == tokenizer.mask_id).sum()
            n_kept += (ids[chosen] == targets[chosen]).sum()
            n_tokens += (lengths - 2).sum()
    # standard deviations of these shares are below 0.01 and 0.02
    assert n_chosen / n_tokens == pytest.approx(0.15, abs=0.03)
    assert n_masks / n_chosen == pytest.approx(0.8, abs=0.06)
    assert n_kept / n_chosen == pytest.approx(0.1, abs=0.06)


def test_masks_are_new_each_time_and_those_of_a_resumed_run_are_the_same(tokenizer: TextTokenizer) -> None:
    rows = masked(tokenizer)
    first, again, other = (list(rows.epoch(epoch, 1)) for epoch in (0, 0, 1))
    for one, same in zip(first, again, strict=True):
        assert (one.ids == same.ids).all()
    assert any((one.targets != another.targets).any() for one, another in zip(first, other, strict=False))
    resumed = list(rows.epoch(0, 1, start=1))
    assert len(resumed) == len(first) - 1
    for one, same in zip(first[1:], resumed, strict=True):
        assert (one.ids == same.ids).all()
        assert (one.targets == same.targets).all()
    for one, same in zip(rows.in_order(), rows.in_order(), strict=True):
        assert (one.targets == same.targets).all()
