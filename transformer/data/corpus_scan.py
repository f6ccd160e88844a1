"""A first look at all pairs: how many there are, and which are held out."""

import dataclasses
from collections.abc import Collection, Iterator, Sequence

from heed.transformer.data.parallel_text import ParallelText
from heed.transformer.data.reservoir import Lot, fingerprint
from heed.transformer.data.sources import Pair, Source, every_pair

HELD_OUT = 1000  # sources for validation where no text is given for it, and
HELD_OUT_SHARE = 0.05  # at most as many as this share of the pairs
SAMPLE = 2_000_000  # lines that a vocabulary is learnt from, at most


@dataclasses.dataclass(frozen=True)
class Survey:
    """What was seen."""

    n_pairs: int
    validation: ParallelText  # of each source that is held out, its first pair
    leaves_some: bool  # whether there are other sources


def survey(sources: Sequence[Source], seed: int, *, hold_out: bool) -> Survey:
    """Read all pairs once.

    Args:
        sources: Where they stand.
        seed: What is held out is drawn by.
        hold_out: Whether to hold out pairs for validation.

    Raises:
        DataError: A file cannot be used.
        OSError: A file cannot be read.
    """
    lot, n_pairs, n_full = Lot[Pair](HELD_OUT + 1), 0, 0
    for src, tgt in every_pair(sources):
        n_pairs += 1
        if hold_out and src.strip() and tgt.strip():
            n_full += 1
            lot.add(fingerprint(src, seed), (src, tgt))
    most = max(1, min(HELD_OUT, int(n_full * HELD_OUT_SHARE)))
    return Survey(n_pairs, ParallelText.of(lot.drawn(most).values()), leaves_some=len(lot) > most)


def sample(sources: Sequence[Source], n_pairs: int, held: Collection[int], seed: int) -> Iterator[Pair]:
    """Pairs to learn a vocabulary from: all that are not held out, or of very many each n-th.

    Args:
        sources: Where they stand.
        n_pairs: How many they are.
        held: The fingerprints of the sources that are held out.
        seed: Of the fingerprints.
    """
    step = max(1, -(-2 * n_pairs // SAMPLE))
    for number, (src, tgt) in enumerate(every_pair(sources)):
        if number % step == 0 and fingerprint(src, seed) not in held:
            yield src, tgt
