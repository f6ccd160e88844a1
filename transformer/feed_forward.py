"""The position-wise feed-forward network (section 3.3)."""

import functools
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from heed.models.spec.stack import FeedForwardSpec
from heed.transformer.kernels.linear import Linear

ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu_,  # in place, for what it is given is needed no more
    "gelu": F.gelu,
    "gelu_tanh": functools.partial(F.gelu, approximate="tanh"),
    "silu": F.silu,
}


class FeedForward(nn.Module):
    """max(0, x W₁ + b₁) W₂ + b₂ (equation 2), or with another activation.

    A gated one is (activation(x W_g) · x W₁) W₂ (Shazeer, 2020, arXiv 2002.05202).
    """

    def __init__(self, spec: FeedForwardSpec, d_model: int) -> None:
        super().__init__()
        self.activation = ACTIVATIONS[spec.activation]
        self.gate = Linear(d_model, spec.d_ff, bias=spec.biases) if spec.gated else None
        self.inner = Linear(d_model, spec.d_ff, bias=spec.biases)
        self.outer = Linear(spec.d_ff, d_model, bias=spec.biases)

    def forward(self, x: Tensor) -> Tensor:
        """Transform each position of x, (B, T, D), alone."""
        if self.gate is None:
            return self.outer(self.activation(self.inner(x)))
        return self.outer(self.activation(self.gate(x)) * self.inner(x))
