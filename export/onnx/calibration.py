"""How large keys and values get, and so what the integers stand for that they are kept in."""

from collections.abc import Iterable, Sequence

import numpy as np
import torch

from heed.models.arrays import FloatArray
from heed.transformer.attention import KeyValueCache
from heed.transformer.block import BlockCache
from heed.transformer.masks import causal_mask
from heed.transformer.model import Transformer

LARGEST = 127
MARGIN = 1.25  # other texts have larger ones than those that were seen; what is larger still is cut off


def cache_scales(network: Transformer, texts: Iterable[Sequence[int]]) -> dict[str, FloatArray]:
    """The steps of the integers of 8 bits that keys and values are kept in, by the names of their caches.

    Each dimension of each head has a step of its own, (G, 1, K): some are many times as large as others.

    Args:
        network: A decoder alone, which makes the keys and values.
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
def _largest(network: Transformer, text: Sequence[int]) -> dict[str, FloatArray]:
    """The largest key and value of each dimension that a text makes, (G, 1, K), by the names of their caches."""
    decoder, device = network.decoder, network.output_weight.device
    assert decoder is not None, "only a decoder keeps keys and values"
    ids = torch.tensor([list(text)], device=device)
    positions = torch.arange(ids.shape[1], device=device)
    caches = [BlockCache(KeyValueCache(), KeyValueCache()) for _ in decoder.layers]
    sight = decoder.sight(causal_mask(len(positions), device), positions, slots=positions[None])
    network.decode(ids, positions, sight, None, caches)
    found = {}
    for number, cache in enumerate(caches):
        for part in ("keys", "values"):
            each = getattr(cache.own, part)[0]
            found[f"{part}.{number}"] = each.abs().amax(dim=1, keepdim=True).float().cpu().numpy()
    return found
