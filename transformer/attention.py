"""Scaled dot-product and multi-head attention (section 3.2)."""

import dataclasses

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention.varlen import varlen_attn

from heed.models.spec.stack import AttentionSpec
from heed.transformer.kernels.linear import Linear
from heed.transformer.masks import Causal, as_numbers
from heed.transformer.positions import Rotation, rotate

LONG = 64  # keys; on a CPU, for fewer, the equation written out is faster than the fused kernel


def attention(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | Causal, *, scale: float | None = None, soft_cap: float | None = None
) -> Tensor:
    """Scaled dot-product attention, softmax(q kᵀ / √d_k) v (section 3.2.1, equation 1).

    Args:
        q: Queries, (B, H, T, K).
        k: Keys, (B, H, S, K).
        v: Values, (B, H, S, K).
        mask: True where a query may look, or what is added to scores, broadcastable from (T, S) at least to
            (B, H, T, S); every query must see a key.
        scale: What the products of queries and keys are times; None: 1/√d_k.
        soft_cap: c of scores c · tanh(score / c); None: scores as they are.

    Returns:
        One weighted sum of values for each query, (B, H, T, K).
    """
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    if isinstance(mask, Causal):
        return _causal(q, k, v, mask, scale)
    if q.device.type != "cpu" and soft_cap is None:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale)
    with torch.autocast(q.device.type, enabled=False):
        return _in_float32(q.float(), k.float(), v.float(), mask, scale, soft_cap).to(q.dtype)


def _in_float32(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, scale: float, soft_cap: float | None) -> Tensor:
    """On a CPU also for bfloat16: there the fused kernel's backward pass takes two to five times as long."""
    if soft_cap is None and k.shape[2] > LONG:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale)
    bias = as_numbers(mask) if mask.dtype == torch.bool else mask
    if soft_cap is None:
        scores = torch.add(bias, q @ k.transpose(-2, -1), alpha=scale)  # (B, H, T, S)
    else:
        scores = bias + soft_cap * torch.tanh(q @ k.transpose(-2, -1) * (scale / soft_cap))
    return scores.softmax(-1) @ v


def _causal(q: Tensor, k: Tensor, v: Tensor, causal: Causal, scale: float) -> Tensor:
    """Attention of texts to what came before, by kernels that make no mask."""
    if causal.bounds is None and causal.window is None:
        return F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale)
    B, _, T, _ = q.shape
    bounds, longest = causal.bounds, causal.longest
    if bounds is None:
        bounds, longest = torch.arange(0, B * T + 1, T, dtype=torch.int32, device=q.device), T
    flat = (x.to(v.dtype).transpose(1, 2).flatten(0, 1) for x in (q, k, v))  # (B · T, H, K)
    behind = -1 if causal.window is None else causal.window - 1
    heads = varlen_attn(*flat, bounds, bounds, longest, longest, scale=scale, window_size=(behind, 0))
    assert isinstance(heads, Tensor)
    return heads.unflatten(0, (B, T)).transpose(1, 2)


@dataclasses.dataclass(frozen=True)
class Sight:
    """What tokens attend to, the same in all layers of a stack."""

    mask: Tensor | Causal  # of self-attention or of attention to the memory; see `attention`
    rotation: Rotation | None = None  # of the tokens' positions
    memory: Tensor | None = None  # the encoder's output, (B, S, D); None: the tokens attend to themselves
    slots: Tensor | None = None  # where a cache gets their keys and values, (B, T)


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
        """Continue with these sequences of the batch alone."""
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

    The paper's projections have no biases, and each head its own keys and values; others may differ.

    Args:
        spec: Heads, and what differs from the paper.
        d_model: Width (D).
        eps: Of the norm of queries and keys, where there is one.
    """

    def __init__(self, spec: AttentionSpec, d_model: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.spec = spec
        self.query = Linear(d_model, spec.d_heads, bias=spec.biases)
        self.key = Linear(d_model, spec.d_kv_heads, bias=spec.biases)
        self.value = Linear(d_model, spec.d_kv_heads, bias=spec.biases)
        self.output = Linear(spec.d_heads, d_model, bias=spec.output_bias)
        self.query_norm = nn.RMSNorm(spec.d_head, eps) if spec.qk_norm else None
        self.key_norm = nn.RMSNorm(spec.d_head, eps) if spec.qk_norm else None

    def forward(self, x: Tensor, sight: Sight, cache: KeyValueCache | None = None) -> Tensor:
        """Let x, (B, T, D), attend to itself or to the memory; returns (B, T, D).

        Args:
            x: Positions that ask.
            sight: What they see.
            cache: Keys and values of earlier positions, which x's join; or those of the memory.
        """
        spec = self.spec
        keys, values = self._keys_and_values(x, sight, cache)
        q = rotate(self._heads(self.query(x), self.query_norm), sight.rotation)  # (B, H, T, K)
        if (group := spec.n_heads // spec.n_kv_heads) > 1:
            keys, values = (each.repeat_interleave(group, dim=1) for each in (keys, values))
        heads = attention(q, keys, values, sight.mask, scale=spec.score_scale, soft_cap=spec.soft_cap)
        return self.output(heads.transpose(1, 2).flatten(2))  # (B, T, D)

    def project(self, x: Tensor, rotation: Rotation | None = None) -> tuple[Tensor, Tensor]:
        """The keys, turned by their positions' rotation, and values of x, (B, S, D): two tensors (B, H, S, K)."""
        return rotate(self._heads(self.key(x), self.key_norm), rotation), self._heads(self.value(x))

    def _keys_and_values(self, x: Tensor, sight: Sight, cache: KeyValueCache | None) -> tuple[Tensor, Tensor]:
        if sight.memory is not None:
            if cache is None:
                return self.project(sight.memory)
            if cache.keys is None or cache.values is None:
                cache.keys, cache.values = self.project(sight.memory)
            return cache.keys, cache.values
        keys, values = self.project(x, sight.rotation)
        if cache is None or sight.slots is None:
            return keys, values
        assert isinstance(sight.mask, Tensor)
        return cache.write(keys, values, sight.slots, sight.mask.shape[-1])

    def _heads(self, x: Tensor, norm: nn.Module | None = None) -> Tensor:
        heads = x.unflatten(-1, (-1, self.spec.d_head)).transpose(1, 2)  # (B, H, T, K)
        return heads if norm is None else norm(heads)
