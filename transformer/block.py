"""The layers of the two stacks: sub-layers, each with its residual connection (section 3.1)."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from heed.models.spec.config import ModelConfig
from heed.transformer.attention import KeyValueCache, MultiHeadAttention
from heed.transformer.kernels.dropout import Dropout
from heed.transformer.kernels.linear import Linear

Write = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def writer(cache: KeyValueCache | None, slots: Tensor | None, n_slots: int) -> Write:
    """What puts keys and values into slots of a cache; without either, they stay alone."""
    if cache is None or slots is None:
        return lambda keys, values: (keys, values)
    return lambda keys, values: cache.write(keys, values, slots, n_slots)


class FeedForward(nn.Module):
    """The position-wise network max(0, x W₁ + b₁) W₂ + b₂ (section 3.3, equation 2), or one with another activation."""

    def __init__(
        self,
        *,
        d_model: int,
        d_ff: int,
        activation: Callable[[Tensor], Tensor] = torch.relu_,
        biases: bool = True,
    ) -> None:
        super().__init__()
        self.activation = activation
        self.inner = Linear(d_model, d_ff, bias=biases)
        self.outer = Linear(d_ff, d_model, bias=biases)

    def forward(self, x: Tensor) -> Tensor:
        """Transform each position of x, (B, T, D), alone."""
        return self.outer(self.activation(self.inner(x)))


class GatedFeedForward(nn.Module):
    """SwiGLU, (SiLU(x W_g) · x W₁) W₂ (Shazeer, 2020, arXiv 2002.05202)."""

    def __init__(self, *, d_model: int, d_ff: int, biases: bool) -> None:
        super().__init__()
        self.gate = Linear(d_model, d_ff, bias=biases)
        self.inner = Linear(d_model, d_ff, bias=biases)
        self.outer = Linear(d_ff, d_model, bias=biases)

    def forward(self, x: Tensor) -> Tensor:
        """Transform each position of x, (B, T, D), alone."""
        return self.outer(F.silu(self.gate(x)) * self.inner(x))


class Residual(nn.Module):
    """A residual connection with dropout (section 5.4) and layer norm about a sub-layer.

    "post" is the paper's LayerNorm(x + Sublayer(x)). "pre" normalizes the sub-layer's input instead, which
    keeps a clear path through all layers and so trains deep stacks (Xiong et al., 2020, arXiv 2002.04745).
    """

    def __init__(self, norm: nn.Module, dropout: float, *, norm_first: bool) -> None:
        super().__init__()
        self.norm_first = norm_first
        self.norm = norm
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, sublayer: Callable[[Tensor], Tensor]) -> Tensor:
        """Apply a sub-layer to x, (B, T, D)."""
        if self.norm_first:
            return x + self.dropout(sublayer(self.norm(x)))
        return self.norm(x + self.dropout(sublayer(x)))


def _residual(config: ModelConfig) -> Residual:
    return Residual(nn.LayerNorm(config.d_model), config.dropout, norm_first=config.norm == "pre")


class EncoderLayer(nn.Module):
    """Self-attention and feed-forward (Figure 1, left)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.self_attention = MultiHeadAttention(d_model=config.d_model, n_heads=config.n_heads)
        self.self_residual = _residual(config)
        self.feed_forward = FeedForward(d_model=config.d_model, d_ff=config.d_ff)
        self.feed_residual = _residual(config)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Transform x, (B, S, D), under a mask broadcastable to (B, H, S, S)."""

        def attend(x: Tensor) -> Tensor:
            return self.self_attention(x, *self.self_attention.project(x), mask)

        x = self.self_residual(x, attend)
        return self.feed_residual(x, self.feed_forward)


class DecoderLayer(nn.Module):
    """Masked self-attention, attention to the encoder's output, feed-forward (Figure 1, right)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.self_attention = MultiHeadAttention(d_model=config.d_model, n_heads=config.n_heads)
        self.self_residual = _residual(config)
        self.cross_attention = MultiHeadAttention(d_model=config.d_model, n_heads=config.n_heads)
        self.cross_residual = _residual(config)
        self.feed_forward = FeedForward(d_model=config.d_model, d_ff=config.d_ff)
        self.feed_residual = _residual(config)

    def forward(
        self,
        x: Tensor,
        mask: Tensor,
        memory: tuple[Tensor, Tensor],
        memory_mask: Tensor,
        write: Write,
    ) -> Tensor:
        """Transform x, (B, T, D), positions of targets.

        Args:
            x: Positions to transform, (B, T, D).
            mask: Which keys and values they see, broadcastable to (B, H, T, C).
            memory: Keys and values of the encoder's output, (B, H, S, K) each.
            memory_mask: What they see of it, broadcastable to (B, H, T, S).
            write: Puts x's own keys and values, (B, H, T, K), beside earlier ones; returns all, (B, H, C, K).
        """

        def attend_to_self(x: Tensor) -> Tensor:
            return self.self_attention(x, *write(*self.self_attention.project(x)), mask)

        def attend_to_memory(x: Tensor) -> Tensor:
            return self.cross_attention(x, *memory, memory_mask)

        x = self.self_residual(x, attend_to_self)
        x = self.cross_residual(x, attend_to_memory)
        return self.feed_residual(x, self.feed_forward)
