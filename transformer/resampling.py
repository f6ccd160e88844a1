"""Subword regularization: the same text in other subwords each time that it is learnt from (arXiv 1910.13267)."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from heed.models.tokenizer import Tokenizer
from heed.transformer.pairs import AnyPairs, IntArray, Pairs, TokenLists


@dataclasses.dataclass(frozen=True)
class Resampling:
    """Draws the subwords of pairs."""

    texts: Sequence[AnyPairs]  # the texts of the corpora, as bytes of UTF-8 in place of tokens
    src: Tokenizer
    tgt: Tokenizer
    share: float  # of merges left out

    def pairs(self, texts: Pairs, rows: IntArray, draw: np.random.SeedSequence) -> Pairs:
        """Some pairs as the subwords that are drawn."""
        seeds = (draw.generate_state(2) >> 1).tolist()  # SentencePiece keeps the largest for "no seed"
        sides = (self.src, texts.src, seeds[0]), (self.tgt, texts.tgt, seeds[1])
        src, tgt = (tokenizer.sample(_decoded(side, rows), self.share, seed) for tokenizer, side, seed in sides)
        return Pairs.of(src, tgt)


def _decoded(texts: TokenLists, rows: IntArray) -> list[str]:
    return [texts[row].tobytes().decode("utf-8") for row in rows.tolist()]
