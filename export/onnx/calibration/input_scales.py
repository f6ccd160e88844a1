"""Calibration of int8 products: one scale for all that a product reads, where that costs little.

A scale per row has to be found for each row: the largest value is looked for, the row is divided, and the product is
multiplied again. A scale that is known spares these passes, a quarter of a product's time. Inputs of products stay
within the bounds that text has shown, because most of them come from a layer norm.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch
from torch import Tensor, nn

from heed.export.onnx.builder import LEVELS, SIGNED_LEVELS
from heed.models.spec.network import NetworkSpec
from heed.models.tasks.scorer import ScoringInput
from heed.transformer.kernels.linear import Linear
from heed.transformer.model import Transformer

BINS = 4096  # of a histogram of sizes: 16 for each level
SHARES = np.linspace(0.2, 1, 41)  # of the largest value: what lies above is clipped, and what lies below is finer
# How many times as large as its rounding error a row that a product reads has to be, in squares and on average. Weights
# rounded to six bits are at some 3,000. The default translator's inputs, at 636 to 17,000, cost 0.0001 nats a token.
PRECISE = 500

Seen = Callable[[str, Tensor], None]


def input_scales(network: Transformer, passages: Iterable[ScoringInput], bos_id: int) -> dict[str, float]:
    """The scales of what products read, by the names that graphs give them; none for inputs of widely varying size.

    Args:
        network: A network with an encoder and a decoder.
        passages: Representative text.
        bos_id: The beginning token of outputs.
    """
    texts, largest, found = list(passages), dict[str, float](), dict[str, _Sizes]()

    def measure(name: str, sizes: Tensor) -> None:
        largest[name] = max(largest.get(name, 0.0), float(sizes.max()))

    def count(name: str, sizes: Tensor) -> None:
        if largest[name] > 0:
            found.setdefault(name, _Sizes(largest[name], _levels(network.spec, name))).add(sizes)

    for seen in (measure, count):
        _read(network, texts, bos_id, seen)
    scales = {name: scale for name, sizes in found.items() if (scale := sizes.scale()) is not None}
    packed = {name.removesuffix("query") + "qkv": scale for name, scale in scales.items() if name.endswith(".query")}
    return scales | packed


class _Sizes:
    """A histogram of the sizes of numbers in rows, in which all rows weigh the same.

    Args:
        largest: The largest one.
        levels: Levels of its rounding, from 0.
    """

    def __init__(self, largest: float, levels: int) -> None:
        self._largest, self._levels, self._n_rows = largest, levels, 0
        self._weights = np.zeros(BINS, dtype=np.float32)

    def add(self, rows: Tensor) -> None:
        """Count rows, (…, D)."""
        rows = rows.flatten(0, -2)
        rows = rows[rows.any(dim=1)]
        weights = rows.square().sum(1, keepdim=True).reciprocal().expand_as(rows)
        bins = (rows * (BINS / self._largest)).long().clamp(max=BINS - 1)
        self._weights += torch.bincount(bins.flatten(), weights.flatten(), BINS).numpy()
        self._n_rows += len(rows)

    def scale(self) -> float | None:
        """The scale with the least mean error of a row; None: it is not precise."""
        sizes = (np.arange(BINS) + 0.5) * (self._largest / BINS)
        tried = self._largest / self._levels * SHARES
        rounded = np.minimum(np.rint(sizes / tried[:, None]), self._levels) * tried[:, None]
        errors = np.square(rounded - sizes) @ self._weights
        best = int(errors.argmin())
        return float(tried[best]) if errors[best] * PRECISE <= self._n_rows else None


def _levels(spec: NetworkSpec, name: str) -> int:
    """The levels on a side of 0 for what a product reads: all of a byte's where it follows a ReLU."""
    rectified = name.endswith(".outer") and spec.stacks[name.partition(".")[0]].feed_forward.rectifies
    return LEVELS if rectified else SIGNED_LEVELS


@torch.inference_mode()
def _read(network: Transformer, texts: list[ScoringInput], bos_id: int, seen: Seen) -> None:
    """Let the network read texts, and show the sizes of what its products read."""

    def hook(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        return lambda _, inputs: seen(name, inputs[0].float().abs().cpu())

    products = {name: module for name, module in network.named_modules() if isinstance(module, Linear)}
    with contextlib.ExitStack() as hooks:
        for name, module in products.items():
            hooks.enter_context(module.register_forward_pre_hook(hook(name)))
        for states in states_of(network, texts, bos_id):
            seen(network.spec.output, states.float().abs().cpu())


def states_of(network: Transformer, passages: Iterable[ScoringInput], bos_id: int) -> Iterator[Tensor]:
    """Let a network with an encoder and a decoder read texts; its final states of each, (1, T, D)."""
    device = network.output_weight.device
    for each in passages:
        src = torch.tensor([each.source or []], device=device)
        tgt = torch.tensor([each.read(bos_id)], device=device)
        yield network.states(src, torch.ones_like(src, dtype=torch.bool)[:, None, None], tgt)
