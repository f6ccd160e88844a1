"""Scaled dot-product and multi-head attention (section 3.2)."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from heed.transformer.kernels.linear import Linear
from heed.transformer.positions import Rotation, rotate

LONG = 64  # keys; on a CPU, for fewer, the equation written out is faster than the fused kernel


def attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """Scaled dot-product attention, softmax(q kᵀ / √d_k) v (section 3.2.1, equation 1).

    Args:
        q: Queries, (B, H, T, K).
        k: Keys, (B, H, S, K).
        v: Values, (B, H, S, K).
        mask: True where a query may look, broadcastable from (T, S) at least to (B, H, T, S); every query must see
            a key.

    Returns:
        One weighted sum of values for each query, (B, H, T, K).
    """
    if q.device.type != "cpu":
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    with torch.autocast("cpu", enabled=False):
        return _attention_on_cpu(q.float(), k.float(), v.float(), mask).to(q.dtype)


def _attention_on_cpu(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """The same in float32: in bfloat16, the fused kernel's backward pass takes two to five times as long."""
    if k.shape[2] > LONG:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    hidden = torch.zeros_like(mask, dtype=q.dtype).masked_fill_(~mask, -math.inf)
    scores = torch.add(hidden, q @ k.transpose(-2, -1), alpha=q.shape[-1] ** -0.5)  # (B, H, T, S)
    return scores.softmax(-1) @ v


class KeyValueCache:
    """The keys and values that a decoder layer has computed so far, each in one of C slots of its sequence."""

    def __init__(self) -> None:
        self.keys: Tensor | None = None  # (B, H, C, K)
        self.values: Tensor | None = None

    def write(self, keys: Tensor, values: Tensor, slots: Tensor, n_slots: int) -> tuple[Tensor, Tensor]:
        """Put keys and values, (B, H, T, K), into slots, (B, T), of at least `n_slots`; returns all of both."""
        self.keys = _put(self.keys, keys, slots, n_slots)
        self.values = _put(self.values, values, slots, n_slots)
        return self.keys, self.values

    def keep(self, rows: Tensor) -> None:
        """Go on with these sequences of the batch alone."""
        if self.keys is not None and self.values is not None:
            self.keys, self.values = self.keys[rows], self.values[rows]


def _put(cache: Tensor | None, new: Tensor, slots: Tensor, n_slots: int) -> Tensor:
    B, H, _, K = new.shape
    held = new.new_zeros(B, H, 0, K) if cache is None else cache
    if held.shape[2] < n_slots:
        held = torch.cat([held, new.new_zeros(B, H, n_slots - held.shape[2], K)], dim=2)
    held[torch.arange(B, device=slots.device)[:, None], :, slots] = new.transpose(1, 2)
    return held


class MultiHeadAttention(nn.Module):
    """Attention in several subspaces at once (section 3.2.2).

    The paper's projections have no biases, and each head its own keys and values; language models may differ.
    Projecting keys and values is a step of its own, so that the decoder can keep them.
    """

    def __init__(self, *, d_model: int, n_heads: int, n_kv_heads: int | None = None, biases: bool = False) -> None:
        super().__init__()
        self.d_head = d_model // n_heads
        self.group = n_heads // (n_kv_heads or n_heads)  # query heads that share a head of keys and values
        d_kv = d_model // self.group
        self.query = Linear(d_model, d_model, bias=biases)
        self.key = Linear(d_model, d_kv, bias=biases)
        self.value = Linear(d_model, d_kv, bias=biases)
        self.output = Linear(d_model, d_model, bias=biases)

    def project(self, x: Tensor, rotation: Rotation | None = None) -> tuple[Tensor, Tensor]:
        """The keys, turned by their positions' rotation, and values of x, (B, S, D): two tensors (B, H, S, K)."""
        return rotate(self._split_heads(self.key(x)), rotation), self._split_heads(self.value(x))

    def forward(
        self, x: Tensor, keys: Tensor, values: Tensor, mask: Tensor, rotation: Rotation | None = None
    ) -> Tensor:
        """Let x, (B, T, D), attend to keys and values, (B, H, S, K); returns (B, T, D)."""
        q = rotate(self._split_heads(self.query(x)), rotation)
        if self.group > 1:
            keys, values = (each.repeat_interleave(self.group, dim=1) for each in (keys, values))
        heads = attention(q, keys, values, mask)
        return self.output(heads.transpose(1, 2).flatten(2))  # (B, T, D)

    def _split_heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (-1, self.d_head)).transpose(1, 2)  # (B, H, T, K)
