"""How large keys and values get, and so what the integers stand for that they are kept in."""

from collections.abc import Iterable, Sequence

import numpy as np
import torch

from heed.models.arrays import FloatArray
from heed.transformer.attention import KeyValueCache
from heed.transformer.language_model import LanguageModel
from heed.transformer.masks import causal_mask

LARGEST = 127
MARGIN = 1.25  # other texts have larger ones than those that were seen; what is larger still is cut off


def cache_scales(network: LanguageModel, texts: Iterable[Sequence[int]]) -> dict[str, FloatArray]:
    """The steps of the integers of 8 bits that keys and values are kept in, by the names of their caches.

    Each dimension of each head has a step of its own, (G, 1, K): some are many times as large as others.

    Args:
        network: It makes the keys and values.
        texts: Token ids of texts as it will see them, from the beginning token on, each as long as its context at most.
    """
    largest: dict[str, FloatArray] = {}
    for text in texts:
        for name, seen in _largest(network, text).items():
            largest[name] = np.maximum(largest.get(name, seen), seen)
    return {
        name: np.where(each > 0, each * np.float32(MARGIN / LARGEST), np.float32(1)) for name, each in largest.items()
    }


@torch.inference_mode()
def _largest(network: LanguageModel, text: Sequence[int]) -> dict[str, FloatArray]:
    """The largest key and value of each dimension that a text makes, (G, 1, K), by the names of their caches."""
    ids = torch.tensor([list(text)], device=network.embedding.weight.device)
    positions = torch.arange(ids.shape[1], device=ids.device)[None]
    caches = [KeyValueCache() for _ in network.layers]
    network.states(ids, positions, causal_mask(ids.shape[1], ids.device), caches, positions)
    found = {}
    for number, cache in enumerate(caches):
        for part in ("keys", "values"):
            found[f"{part}.{number}"] = getattr(cache, part)[0].abs().amax(dim=1, keepdim=True).float().cpu().numpy()
    return found
