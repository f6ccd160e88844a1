"""Masked rows of text: dynamic masking, with new masks each time a text is read (RoBERTa; arXiv 1907.11692)."""

import dataclasses
from collections.abc import Iterator, Mapping

import numpy as np
import torch

from heed.models.tokenizers.lossless import TextTokenizer
from heed.transformer.data.batching.order import RandomStream
from heed.transformer.data.batching.packing import IGNORED, Packing, TextBatch

N_SPECIAL = 2  # tokens of a row around the text
MASKED, RANDOM = 0.8, 0.1  # of the chosen tokens, those that become masks, and those that become any token (BERT)


class MaskedPacking:
    """Rows of text between the beginning and the end token, some of whose tokens are to be predicted.

    A row holds consecutive text, of several documents where one ends, and each token attends to the whole row.

    Args:
        packing: The rows without the special tokens around them.
        tokenizer: The run's, which has a mask.
        share: Of the tokens that are predicted.
    """

    def __init__(self, packing: Packing, tokenizer: TextTokenizer, share: float) -> None:
        assert tokenizer.mask_id is not None, "a masked language model has a mask"
        self._packing, self._tokenizer, self._mask_id, self._share = packing, tokenizer, tokenizer.mask_id, share
        self._ordinary = np.array([token for token in range(len(tokenizer)) if tokenizer.token_bytes([token])])
        self.facts: Mapping[str, int] = packing.facts

    def epoch(self, epoch: int, seed: int, start: int = 0) -> Iterator[TextBatch]:
        """See `Packing.epoch`; masks depend only on the seed, the epoch and the number of the batch."""
        for number, batch in enumerate(self._packing.epoch(epoch, seed, start), start):
            yield self._masked(batch, np.random.default_rng((RandomStream.MASKS, seed, epoch, number)))

    def in_order(self) -> Iterator[TextBatch]:
        """All documents once, in order, with the same masks every time."""
        for number, batch in enumerate(self._packing.in_order()):
            yield self._masked(batch, np.random.default_rng((RandomStream.MASKS, number)))

    def _masked(self, batch: TextBatch, random: np.random.Generator) -> TextBatch:
        pad_id, given = self._tokenizer.pad_id, batch.targets.numpy()
        tokens, (B, T) = np.where(given == IGNORED, pad_id, given), given.shape
        lengths = (given != IGNORED).sum(axis=1)
        whole = np.full((B, T + N_SPECIAL), pad_id)
        whole[:, 0], whole[:, 1 : T + 1] = self._tokenizer.bos_id, tokens
        whole[np.arange(B), lengths + 1] = self._tokenizer.eos_id
        places = np.arange(T + N_SPECIAL)
        chosen = (places > 0) & (places <= lengths[:, None]) & (random.random(whole.shape) < self._share)
        ids, kind = whole.copy(), random.random(whole.shape)
        ids[chosen & (kind < MASKED)] = self._mask_id
        drawn = self._ordinary[random.integers(0, len(self._ordinary), whole.shape)]
        ids = np.where(chosen & (kind >= MASKED) & (kind < MASKED + RANDOM), drawn, ids)
        targets = np.where(chosen, whole, IGNORED)
        positions = np.broadcast_to(places, whole.shape)
        rows = [torch.from_numpy(np.array(each)) for each in (ids, targets, positions)]
        return dataclasses.replace(batch, ids=rows[0], targets=rows[1], positions=rows[2])
