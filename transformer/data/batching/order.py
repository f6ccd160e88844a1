"""Sampler: the order of training pairs, a function of the seed and the epoch without any state.

A corpus is dealt like a deck of cards; the cards are blocks of consecutive pairs. An epoch takes as many pairs as the
corpus's weight says, and when all are dealt, the deck is reshuffled. The blocks that an epoch takes from all corpora
are shuffled and split into windows that fit into memory, and the pairs of a window are shuffled one by one.
"""

import dataclasses
import enum
from collections.abc import Iterator, Sequence

import numpy as np

from heed.transformer.data.batching.pairs import AnyPairs, IntArray, Pairs

WINDOW = 131_072  # maximum number of pairs in a window, approximately; and
WINDOW_TOKENS = 1 << 23  # theirs
BLOCK = 256  # maximum number of pairs in a block;
BLOCKS = 512  # minimum number of blocks of a window and of a corpus; in a small one, each pair is a block


class RandomStream(enum.IntEnum):
    """Purposes of random numbers; each has its own stream."""

    DECK = 1
    EPOCH = 2
    BATCHES = 3
    SUBWORDS = 4
    MASKS = 5


@dataclasses.dataclass(frozen=True)
class PairRanges:
    """PairRanges of consecutive pairs of several corpora."""

    corpora: IntArray  # number of the corpus of each
    starts: IntArray  # the first pair of each
    stops: IntArray  # one past the last pair of each

    @classmethod
    def whole(cls, sizes: Sequence[int]) -> "PairRanges":
        """PairRanges with all pairs of corpora of these sizes."""
        return cls(np.arange(len(sizes)), np.zeros(len(sizes), dtype=np.int64), np.array(sizes))

    def __len__(self) -> int:
        """The total number of pairs."""
        return int((self.stops - self.starts).sum())

    def __iter__(self) -> Iterator[tuple[int, int, int]]:
        """Corpus, first pair, and one past the last pair of each range."""
        return zip(self.corpora.tolist(), self.starts.tolist(), self.stops.tolist(), strict=True)

    def taken(self, which: IntArray | slice) -> "PairRanges":
        """A selection of them."""
        return PairRanges(self.corpora[which], self.starts[which], self.stops[which])


@dataclasses.dataclass(frozen=True)
class Order:
    """The pairs of an epoch, window by window."""

    sizes: Sequence[int]  # pairs of each corpus
    weights: Sequence[float]  # how often an epoch uses each of them, on average
    window: int = WINDOW  # approximate number of pairs

    @classmethod
    def of(cls, corpora: Sequence[AnyPairs], weights: Sequence[float] = ()) -> "Order":
        """The order for some corpora, with windows that fit into memory; the default weight is 1."""
        sizes = [len(corpus) for corpus in corpora]
        n_tokens = sum(int(corpus.bounds_of(size, size)[0]) for corpus, size in zip(corpora, sizes, strict=True))
        window = min(WINDOW, WINDOW_TOKENS * sum(sizes) // max(n_tokens, 1))
        return cls(sizes, weights or [1.0] * len(sizes), max(window, 1))

    def windows(self, epoch: int, seed: int) -> list[PairRanges]:
        """The windows of an epoch, of similar size; each has its ranges in the order of the files."""
        parts = [self._dealt(corpus, epoch, seed) for corpus in range(len(self.sizes))]
        every = PairRanges(*(np.concatenate([getattr(part, name) for part in parts]) for name in FIELDS))
        every = every.taken(np.random.default_rng((RandomStream.EPOCH, seed, epoch)).permutation(len(every.starts)))
        total = len(every)
        n_windows = max(1, round(total / self.window)) if total else 0
        ends = (every.stops - every.starts).cumsum()
        cuts = np.searchsorted(ends, total * np.arange(1, n_windows) // max(n_windows, 1), side="left") + 1
        bounds = [0, *cuts.tolist(), len(ends)]
        chosen = [every.taken(slice(bounds[i], bounds[i + 1])) for i in range(n_windows)]
        return [window.taken(np.lexsort((window.starts, window.corpora))) for window in chosen]

    def _dealt(self, corpus: int, epoch: int, seed: int) -> PairRanges:
        """The ranges that an epoch takes from a corpus."""
        size, share = self.sizes[corpus], self.weights[corpus]
        begin, end = round(epoch * share * size), round((epoch + 1) * share * size)
        if begin == end:
            return PairRanges(NOTHING, NOTHING, NOTHING)
        starts, stops = [NOTHING], [NOTHING]
        for deck in range(begin // size, -(-end // size)):
            low, high = self._deck(corpus, deck, seed)
            ends = (high - low).cumsum()
            begins = ends - (high - low)
            # What is dealt from this deck, counted from its first card, may begin and end within a block.
            first, last = max(begin - deck * size, 0), min(end - deck * size, size)
            cut_low = low + np.maximum(first - begins, 0)
            cut_high = high - np.maximum(ends - last, 0)
            kept = cut_low < cut_high
            starts.append(cut_low[kept])
            stops.append(cut_high[kept])
        found = np.concatenate(starts)
        return PairRanges(np.full(len(found), corpus, dtype=np.int64), found, np.concatenate(stops))

    def _deck(self, corpus: int, deck: int, seed: int) -> tuple[IntArray, IntArray]:
        """The start and end of a corpus's blocks, in the order in which they are dealt."""
        size = self.sizes[corpus]
        block = max(1, min(BLOCK, size // BLOCKS, self.window // BLOCKS))
        begins = np.arange(0, size, block)
        low = begins[np.random.default_rng((RandomStream.DECK, seed, corpus, deck)).permutation(len(begins))]
        return low, np.minimum(low + block, size)


FIELDS = [field.name for field in dataclasses.fields(PairRanges)]
NOTHING: IntArray = np.zeros(0, dtype=np.int64)


def read(corpora: Sequence[AnyPairs], ranges: PairRanges) -> Pairs:
    """Load ranges of corpora into memory, one after another."""
    ids = []
    for corpus, start, stop in ranges:
        begin, *_, end = corpora[corpus].bounds_of(start, stop).tolist()
        ids.append(corpora[corpus].ids_of(begin, end))
    return Pairs(np.concatenate(ids), read_bounds(corpora, ranges))


def read_bounds(corpora: Sequence[AnyPairs], ranges: PairRanges) -> IntArray:
    """The bounds of their lists once in memory, without reading them, (2n + 1,)."""
    lengths = [np.diff(corpora[corpus].bounds_of(start, stop)) for corpus, start, stop in ranges]
    return np.concatenate([[0], *lengths]).cumsum()
