"""Calibration of the int8 KV cache."""

from collections.abc import Iterable, Sequence

import numpy as np
import torch

from heed.models.arrays import FloatArray
from heed.transformer.attention import KeyValueCache
from heed.transformer.block import BlockCache
from heed.transformer.masks import causal_mask
from heed.transformer.model import Transformer

LARGEST = 127
MARGIN = 1.25  # headroom for values larger than those seen in calibration; larger ones are clipped


def cache_scales(network: Transformer, texts: Iterable[Sequence[int]]) -> dict[str, FloatArray]:
    """The scales of an int8 KV cache with a scale for each channel, by the names of the caches.

    Each dimension of each head has its own scale, (G, 1, K), because their ranges differ widely.

    Args:
        network: A decoder-only network.
        texts: Token ids of representative texts, starting with the beginning token, at most as long as the context.
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
    """The largest absolute key and value of each dimension for a text, (G, 1, K), by the names of the caches."""
    decoder, device = network.decoder, network.output_weight.device
    assert decoder is not None, "only a decoder has a KV cache"
    ids = torch.tensor([list(text)], device=device)
    positions = torch.arange(ids.shape[1], device=device)
    caches = [BlockCache(KeyValueCache(), KeyValueCache()) for _ in decoder.layers]
    inputs = decoder.attention_inputs(causal_mask(len(positions), device), positions, slots=positions[None])
    network.decode(ids, positions, inputs, None, caches)
    found = {}
    for number, cache in enumerate(caches):
        for part in ("keys", "values"):
            each = getattr(cache.own, part)[0]
            found[f"{part}.{number}"] = each.abs().amax(dim=1, keepdim=True).float().cpu().numpy()
    return found
