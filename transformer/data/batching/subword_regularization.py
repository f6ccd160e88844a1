"""Subword regularization: the same text in other subwords each time that it is learnt from (arXiv 1910.13267)."""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from heed.models.tokenizers.subwords import Tokenizer
from heed.transformer.data.batching.bucketing import even_cuts, sorted_by_length
from heed.transformer.data.batching.pairs import AnyPairs, IntArray, Pairs, TokenLists

GROUP = 32  # batches whose pairs are cut into subwords, sorted by length, and cut into as many batches again


@dataclasses.dataclass(frozen=True)
class Resampling:
    """Draws the subwords of pairs."""

    texts: Sequence[AnyPairs]  # the texts of the corpora, as bytes of UTF-8 in place of tokens
    src: Tokenizer
    tgt: Tokenizer
    share: float  # of merges left out

    def batches(
        self, texts: Pairs, group: Sequence[IntArray], draw: np.random.SeedSequence
    ) -> Iterator[tuple[Pairs, IntArray]]:
        """As many batches again, of the same pairs in the subwords that are drawn.

        Batches that were planned by the usual subwords would be a third padding, and some twice as large as others.
        """
        pairs = self._pairs(texts, np.concatenate(group), draw)
        lengths, order = sorted_by_length(pairs.src.lengths, pairs.tgt.lengths)
        plan = np.split(order, even_cuts(lengths, len(group))[:-1])
        for number in np.random.default_rng(draw).permutation(len(plan)):
            yield pairs, plan[number]

    def _pairs(self, texts: Pairs, rows: IntArray, draw: np.random.SeedSequence) -> Pairs:
        seeds = (draw.generate_state(2) >> 1).tolist()  # SentencePiece keeps the largest for "no seed"
        sides = (self.src, texts.src, seeds[0]), (self.tgt, texts.tgt, seeds[1])
        src, tgt = (tokenizer.sample(_decoded(side, rows), self.share, seed) for tokenizer, side, seed in sides)
        return Pairs.of(src, tgt)


def _decoded(texts: TokenLists, rows: IntArray) -> list[str]:
    return [texts[row].tobytes().decode("utf-8") for row in rows.tolist()]
