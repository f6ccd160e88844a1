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
    """A threshold that costs next to nothing of the mean score of beam search; None: none is so good.

    It is the one after the smallest, which may cost more on text of another kind: on news 0.017, where it cost 0.002 on
    captions, and the next one nothing.

    Args:
        network: As it will be run.
        passages: Sources from the validation text.
        special: The special token ids.
    """
    sources = [each.source for each in passages[:TEXTS] if each.source is not None]
    if not sources:
        return None
    plain = _mean_score(network, sources, special, None)
    losses = {each: plain - _mean_score(network, sources, special, each) for each in THRESHOLDS}
    within = [each for each, loss in losses.items() if loss <= LOSS]
    return within[:2][-1] if within else None


def _mean_score(network: Network, sources: list[list[int]], special: SpecialIds, threshold: float | None) -> float:
    config, scores = DecodeConfig(beam_threshold=threshold), list[float]()
    for batch in plan_batches([len(source) for source in sources], BATCH_SIZE):
        found = search(network.state(), [sources[i] for i in batch], config, special, context=network.context)
        scores += [best.score for best, *_ in found]
    return float(np.mean(scores))
