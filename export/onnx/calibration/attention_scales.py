"""Calibration of attention in integers."""

import contextlib
from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import Tensor, nn

from heed.export.onnx.builder import SIGNED_LEVELS
from heed.export.onnx.calibration.input_scales import states_of
from heed.export.onnx.integer_attention import AttentionScales
from heed.export.onnx.rowwise import LARGEST as COLUMN_LEVELS
from heed.models.arrays import FloatArray
from heed.models.tasks.scorer import ScoringInput
from heed.transformer.kernels.linear import Linear
from heed.transformer.model import Transformer

PARTS = ("query", "key", "value")


def attention_scales(network: Transformer, passages: Iterable[ScoringInput], bos_id: int) -> dict[str, AttentionScales]:
    """The scales of the attention of a network's decoder, by the names of attentions.

    Each channel of keys and values has a scale, and each head of queries, which are multiplied by the scales of keys.

    Args:
        network: A network with an encoder and a decoder.
        passages: Representative text.
        bos_id: The beginning token of outputs.
    """
    decoder = network.spec.decoder
    assert decoder is not None
    attention, largest = decoder.attention, _largest(network, passages, bos_id)
    heads = attention.n_heads, attention.d_head
    found = {}
    for number in range(decoder.n_layers):
        for kind in ("self", "cross"):
            name = f"decoder.layers.{number}.{kind}_attention"
            queries, keys, values = (_positive(largest[f"{name}.{part}"].reshape(heads)) for part in PARTS)
            rows, columns = SIGNED_LEVELS, COLUMN_LEVELS
            keys /= rows if kind == "self" else columns
            queries = (queries * keys).max(axis=1) * attention.score_scale / (columns if kind == "self" else rows)
            # Values are columns, too, but the weights of all of them sum to one: they need no spare bit.
            each = (part.astype(np.float32) for part in (queries, keys, values / SIGNED_LEVELS))
            found[name] = AttentionScales(*each)
    return found


def _positive(sizes: FloatArray) -> FloatArray:
    return np.where(sizes > 0, sizes, np.float32(1))


@torch.inference_mode()
def _largest(network: Transformer, passages: Iterable[ScoringInput], bos_id: int) -> dict[str, FloatArray]:
    """The largest absolute query, key and value of each channel, (H K,), by the names of their projections."""
    found: dict[str, FloatArray] = {}

    def hook(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def seen(_: nn.Module, __: tuple[Tensor, ...], made: Tensor) -> None:
            sizes = made.float().abs().flatten(0, -2).amax(dim=0).cpu().numpy()
            found[name] = np.maximum(found.get(name, sizes), sizes)

        return seen

    projections = {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, Linear) and name.startswith("decoder.") and name.rpartition(".")[2] in PARTS
    }
    with contextlib.ExitStack() as hooks:
        for name, module in projections.items():
            hooks.enter_context(module.register_forward_hook(hook(name)))
        for _ in states_of(network, passages, bos_id):
            pass
    return found
