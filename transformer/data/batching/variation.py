"""The same pairs, different each time that they are learnt: augmented, and in other subwords (arXiv 1910.13267)."""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from heed.models.tokenizers.protocol import LineTokenizer
from heed.models.tokenizers.subwords import Tokenizer
from heed.transformer.data.augmentation.augmentation import Augmentation, AugmentedPair
from heed.transformer.data.batching.bucketing import even_cuts, sorted_by_length
from heed.transformer.data.batching.noise import Noise
from heed.transformer.data.batching.pairs import AnyPairs, BoolArray, IntArray, Pairs, TokenLists

GROUP = 32  # batches whose pairs are cut into subwords, sorted by length, and cut into as many batches again


@dataclasses.dataclass(frozen=True)
class Variation:
    """Draws how pairs are learnt this time."""

    texts: Sequence[AnyPairs]  # the texts of the corpora, as bytes of UTF-8 in place of tokens
    src: LineTokenizer
    tgt: LineTokenizer
    share: float  # of merges of subwords left out
    augmentation: Augmentation | None = None
    noise: Noise | None = None  # of targets, which become their own sources
    max_length: int | None = None  # tokens; a pair that augmentation makes longer stays as it was

    def batches(
        self, texts: Pairs, group: Sequence[IntArray], draw: np.random.SeedSequence
    ) -> Iterator[tuple["AugmentedPairs", IntArray]]:
        """As many batches again, of the same pairs as they are drawn.

        Batches that were planned by the usual subwords would be a third padding, and some twice as large as others.
        """
        varied = self._varied(texts, np.concatenate(group), draw)
        lengths, order = sorted_by_length(varied.src.lengths, varied.tgt.lengths)
        plan = np.split(order, even_cuts(lengths, len(group))[:-1])
        for number in np.random.default_rng(draw).permutation(len(plan)):
            yield varied, plan[number]

    def _varied(self, texts: Pairs, rows: IntArray, draw: np.random.SeedSequence) -> "AugmentedPairs":
        seeds = (draw.generate_state(3) >> 1).tolist()  # SentencePiece keeps the largest for "no seed"
        pairs = list(zip(_decoded(texts.src, rows), _decoded(texts.tgt, rows), strict=True))
        augmented = self.augmentation(pairs, seeds[2]) if self.augmentation else [AugmentedPair(pair) for pair in pairs]
        src = self._cut(self.src, [each.pair[0] for each in augmented], seeds[0])
        tgt = self._cut(self.tgt, [each.pair[1] for each in augmented], seeds[1])
        for i, each in enumerate(augmented):
            if (each.copied or each.recased) and max(len(src[i]), len(tgt[i])) > (self.max_length or np.inf):
                augmented[i] = AugmentedPair(pairs[i])
                (src[i],), (tgt[i],) = self.src.encode([pairs[i][0]]), self.tgt.encode([pairs[i][1]])
        if self.noise:
            random = np.random.default_rng(seeds)
            noised = [self.noise(tokens, random) for tokens in tgt]
            src, tgt = [read for read, _ in noised], [written for _, written in noised]
        return AugmentedPairs.of_augmented(src, tgt, augmented)

    def _cut(self, tokenizer: LineTokenizer, lines: list[str], seed: int) -> list[list[int]]:
        if not self.share:
            return tokenizer.encode(lines, threads=1)
        assert isinstance(tokenizer, Tokenizer), "others are refused"
        return tokenizer.sample(lines, self.share, seed)


class AugmentedPairs(Pairs):
    """Pairs as they were drawn."""

    copied: BoolArray  # which of them have other names, numbers, addresses or code words, (n,)
    recased: BoolArray  # which of them are in capitals, or written as titles, (n,)

    @classmethod
    def of_augmented(
        cls, src: Sequence[Sequence[int]], tgt: Sequence[Sequence[int]], augmented: Sequence[AugmentedPair]
    ) -> "AugmentedPairs":
        """Pairs of token lists, and what was done to each."""
        varied = cls.of(src, tgt)
        varied.copied = np.array([each.copied for each in augmented], dtype=np.bool_)
        varied.recased = np.array([each.recased for each in augmented], dtype=np.bool_)
        return varied


def _decoded(texts: TokenLists, rows: IntArray) -> list[str]:
    return [texts[row].tobytes().decode("utf-8") for row in rows.tolist()]
