"""Corpus scan: count all pairs and choose those to hold out."""

import dataclasses
from collections import Counter
from collections.abc import Collection, Iterator, Sequence

from heed.transformer.data.reservoir import BottomKSample, fingerprint
from heed.transformer.data.text.parallel_text import ParallelText
from heed.transformer.data.text.sources import Pair, Source, every_pair

HELD_OUT = 1000  # held-out sources if no validation text is given, and
HELD_OUT_SHARE = 0.05  # at most this share of the pairs
SAMPLE = 2_000_000  # maximum number of lines for learning a vocabulary


@dataclasses.dataclass(frozen=True)
class CorpusScan:
    """The result of a scan."""

    n_pairs: int
    validation: ParallelText  # first pair of each held-out source
    leaves_some: bool  # whether other sources remain
    n_bad: int  # lines that were passed over


def survey(sources: Sequence[Source], seed: int, *, hold_out: bool) -> CorpusScan:
    """Scan all pairs once.

    Args:
        sources: Files of pairs.
        seed: Decides which pairs are held out.
        hold_out: Whether to hold out pairs for validation.

    Raises:
        DataError: A file cannot be used.
        OSError: A file cannot be read.
    """
    sample, n_pairs, n_full = BottomKSample[Pair](HELD_OUT + 1), 0, 0
    counts = Counter[str]()
    for src, tgt in (pair for source in sources for pair in source.pairs(counts)):
        n_pairs += 1
        if hold_out and src.strip() and tgt.strip():
            n_full += 1
            sample.add(fingerprint(src, seed), (src, tgt))
    most = max(1, min(HELD_OUT, int(n_full * HELD_OUT_SHARE)))
    return CorpusScan(n_pairs, ParallelText.of(sample.drawn(most).values()), len(sample) > most, counts["bad"])


def sample(sources: Sequence[Source], n_pairs: int, held: Collection[int], seed: int) -> Iterator[Pair]:
    """Pairs for learning a vocabulary: all that are not held out, or of very many every n-th.

    Args:
        sources: Files of pairs.
        n_pairs: Number of pairs.
        held: Fingerprints of held-out sources.
        seed: Seed of the fingerprints.
    """
    step = max(1, -(-2 * n_pairs // SAMPLE))
    for number, (src, tgt) in enumerate(every_pair(sources)):
        if number % step == 0 and fingerprint(src, seed) not in held:
            yield src, tgt
