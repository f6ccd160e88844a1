"""Subword regularization: a new random segmentation of the text in each epoch (arXiv 1910.13267)."""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from heed.models.tokenizers.subwords import Tokenizer
from heed.transformer.data.batching.bucketing import even_cuts, sorted_by_length
from heed.transformer.data.batching.pairs import AnyPairs, IntArray, Pairs, TokenLists

GROUP = 32  # number of batches that are segmented, sorted by length and batched again together


@dataclasses.dataclass(frozen=True)
class Resampling:
    """Samples the segmentation of pairs."""

    texts: Sequence[AnyPairs]  # texts of the corpora, as UTF-8 bytes instead of tokens
    src: Tokenizer
    tgt: Tokenizer
    share: float  # share of merges to skip

    def batches(
        self, texts: Pairs, group: Sequence[IntArray], draw: np.random.SeedSequence
    ) -> Iterator[tuple[Pairs, IntArray]]:
        """Batch the same pairs again with sampled subwords, into the same number of batches.

        Batches planned with the usual subwords would be a third padding, and some twice as large as others.
        """
        pairs = self._pairs(texts, np.concatenate(group), draw)
        lengths, order = sorted_by_length(pairs.src.lengths, pairs.tgt.lengths)
        plan = np.split(order, even_cuts(lengths, len(group))[:-1])
        for number in np.random.default_rng(draw).permutation(len(plan)):
            yield pairs, plan[number]

    def _pairs(self, texts: Pairs, rows: IntArray, draw: np.random.SeedSequence) -> Pairs:
        seeds = (draw.generate_state(2) >> 1).tolist()  # SentencePiece reserves the largest for "no seed"
        sides = (self.src, texts.src, seeds[0]), (self.tgt, texts.tgt, seeds[1])
        src, tgt = (tokenizer.sample(_decoded(side, rows), self.share, seed) for tokenizer, side, seed in sides)
        return Pairs.of(src, tgt)


def _decoded(texts: TokenLists, rows: IntArray) -> list[str]:
    return [texts[row].tobytes().decode("utf-8") for row in rows.tolist()]
