"""How far behind the best a hypothesis may fall before beam search drops it, measured for each network."""

from collections.abc import Sequence

import numpy as np

from heed.models.decoding.batching import plan_batches
from heed.models.decoding.beam_search import search
from heed.models.decoding.config import DecodeConfig, SpecialIds
from heed.models.runtime.protocol import Network
from heed.models.tasks.scorer import ScoringInput

THRESHOLDS = (1.0, 1.5, 2.0, 2.5, 3.0)  # nats, the fastest first
LOSS = 0.005  # of the mean score of a translation, at most
TEXTS, BATCH_SIZE = 100, 32


def choose_threshold(network: Network, passages: Sequence[ScoringInput], special: SpecialIds) -> float | None:
    """The smallest threshold that costs next to nothing of the mean score of beam search; None: none is so good.

    Args:
        network: As it will be run.
        passages: Sources from the validation text.
        special: The special token ids.
    """
    sources = [each.source for each in passages[:TEXTS] if each.source is not None]
    if not sources:
        return None
    plain = _mean_score(network, sources, special, None)
    within = (each for each in THRESHOLDS if plain - _mean_score(network, sources, special, each) <= LOSS)
    return next(within, None)


def _mean_score(network: Network, sources: list[list[int]], special: SpecialIds, threshold: float | None) -> float:
    config, scores = DecodeConfig(beam_threshold=threshold), list[float]()
    for batch in plan_batches([len(source) for source in sources], BATCH_SIZE):
        found = search(network.state(), [sources[i] for i in batch], config, special, context=network.context)
        scores += [best.score for best, *_ in found]
    return float(np.mean(scores))
