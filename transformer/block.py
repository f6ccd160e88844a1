"""A block: the sub-layers of a layer, each with a residual connection (section 3.1)."""

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor, nn

from heed.models.spec.stack import StackSpec
from heed.transformer.attention import AttentionInputs, KeyValueCache, MultiHeadAttention
from heed.transformer.feed_forward import FeedForward
from heed.transformer.kernels.dropout import Dropout
from heed.transformer.norm import new_norm
from heed.transformer.recurrence import SSRU, StateCache


class Residual(nn.Module):
    """A residual connection around a sub-layer, with dropout (section 5.4) and a norm.

    "after" is the paper's LayerNorm(x + Sublayer(x)). "before" normalizes the input of the sub-layer instead, which
    keeps the residual path clear and so trains deep stacks (Xiong et al., 2020, arXiv 2002.04745).
    """

    def __init__(self, spec: StackSpec, d_model: int, dropout: float) -> None:
        super().__init__()
        self.norm_first = spec.norm.placement == "before"
        self.norm = new_norm(spec.norm, d_model)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, sublayer: Callable[..., Tensor], *others: object) -> Tensor:
        """Apply a sub-layer to x, (B, T, D), and to further arguments."""
        if self.norm_first:
            return x + self.dropout(sublayer(self.norm(x), *others))
        return self.norm(x + self.dropout(sublayer(x, *others)))


class BlockCache(NamedTuple):
    """The caches of a layer during decoding."""

    own: KeyValueCache | StateCache  # of self-attention, or of a recurrence
    memory: KeyValueCache  # of the encoder's output


def new_cache(spec: StackSpec) -> BlockCache:
    """Empty caches of a layer."""
    return BlockCache(KeyValueCache() if spec.recurrence is None else StateCache(), KeyValueCache())


class Block(nn.Module):
    """Self-attention, attention to the encoder's output if there is one, and feed-forward network (Figure 1).

    A recurrence may take the place of self-attention.
    """

    def __init__(self, spec: StackSpec, d_model: int, dropout: float, *, crosses: bool) -> None:
        super().__init__()
        if spec.recurrence is None:
            self.self_attention = MultiHeadAttention(spec.attention, d_model, spec.norm.eps, spec.positions)
        else:
            self.recurrence = SSRU(d_model)
        self._is_recurrent = spec.recurrence is not None
        self.self_residual = Residual(spec, d_model, dropout)
        if crosses:
            self.cross_attention = MultiHeadAttention(spec.attention, d_model, spec.norm.eps)
            self.cross_residual = Residual(spec, d_model, dropout)
        self.feed_forward = FeedForward(spec.feed_forward, d_model)
        self.feed_residual = Residual(spec, d_model, dropout)

    def forward(
        self, x: Tensor, inputs: AttentionInputs, memory: AttentionInputs | None = None, cache: BlockCache | None = None
    ) -> Tensor:
        """Transform x, (B, T, D).

        Args:
            x: Inputs.
            inputs: What self-attention attends to.
            memory: What cross-attention attends to.
            cache: Its caches.
        """
        mixing = self.recurrence if self._is_recurrent else self.self_attention
        x = self.self_residual(x, mixing, inputs, cache and cache.own)
        if memory is not None:
            x = self.cross_residual(x, self.cross_attention, memory, cache and cache.memory)
        return self.feed_residual(x, self.feed_forward)
