"""Scaled dot-product and multi-head attention (section 3.2)."""

import dataclasses

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from heed.models.spec.positions import PositionSpec, RelativeSinusoids
from heed.models.spec.stack import AttentionSpec
from heed.transformer.kernels.linear import Linear
from heed.transformer.masks import Causal, as_numbers
from heed.transformer.positions import Rotation, rotate
from heed.transformer.relative import Distances, RelativeScores

LONG = 64  # keys; with fewer, plain operations are faster on a CPU than the fused kernel


def attention(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | Causal, *, scale: float | None = None, soft_cap: float | None = None
) -> Tensor:
    """Scaled dot-product attention, softmax(q kᵀ / √d_k) v (section 3.2.1, equation 1).

    Args:
        q: Queries, (B, H, T, K).
        k: Keys, (B, H, S, K).
        v: Values, (B, H, S, K).
        mask: True where a query may attend, or an additive mask, broadcastable from at least (T, S) to (B, H, T, S);
            every query must attend to a key.
        scale: Factor of the scores; None: 1/√d_k.
        soft_cap: c in c · tanh(score / c); None: no soft cap.

    Returns:
        A weighted sum of values for each query, (B, H, T, K).
    """
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    if isinstance(mask, Causal):
        return _causal(q, k, v, mask, scale)
    if q.device.type != "cpu" and soft_cap is None:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale)
    with torch.autocast(q.device.type, enabled=False):
        return _in_float32(q.float(), k.float(), v.float(), mask, scale, soft_cap).to(q.dtype)


def _in_float32(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, scale: float, soft_cap: float | None) -> Tensor:
    """Attention in float32; on a CPU also for bfloat16, whose fused backward pass takes two to five times as long."""
    if soft_cap is None and k.shape[2] > LONG:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale)
    bias = as_numbers(mask) if mask.dtype == torch.bool else mask
    if soft_cap is None:
        scores = torch.add(bias, q @ k.transpose(-2, -1), alpha=scale)  # (B, H, T, S)
    else:
        scores = bias + soft_cap * torch.tanh(q @ k.transpose(-2, -1) * (scale / soft_cap))
    return scores.softmax(-1) @ v


def _causal(q: Tensor, k: Tensor, v: Tensor, causal: Causal, scale: float) -> Tensor:
    """Causal attention with kernels that need no mask."""
    if causal.bounds is None and causal.window is None:
        return F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale)
    from torch.nn.attention.varlen import varlen_attn  # which takes two seconds to import

    B, _, T, _ = q.shape
    bounds, longest = causal.bounds, causal.longest
    if bounds is None:
        bounds, longest = torch.arange(0, B * T + 1, T, dtype=torch.int32, device=q.device), T
    q, k, v = (x.to(v.dtype).transpose(1, 2).flatten(0, 1) for x in (q, k, v))  # (B · T, H, K)
    behind = -1 if causal.window is None else causal.window - 1
    heads = varlen_attn(q, k, v, bounds, bounds, longest, longest, scale=scale, window_size=(behind, 0))
    assert isinstance(heads, Tensor)
    return heads.unflatten(0, (B, T)).transpose(1, 2)


@dataclasses.dataclass(frozen=True)
class AttentionInputs:
    """What tokens attend to, the same for all layers of a stack."""

    mask: Tensor | Causal  # mask of self-attention or of attention to the memory; see `attention`
    rotation: Rotation | None = None  # rotation for the tokens' positions
    distances: Distances | None = None  # for scores of distances
    memory: Tensor | None = None  # encoder output, (B, S, D); None: self-attention
    slots: Tensor | None = None  # slots of the cache for their keys and values, or states, (B, T)
    previous: Tensor | None = None  # of a recurrence: slots of the tokens before them, (B, T)


class KeyValueCache:
    """The keys and values of a decoder layer, each in one of C slots."""

    def __init__(self) -> None:
        self.keys: Tensor | None = None  # (B, H, C, K)
        self.values: Tensor | None = None

    def write(self, keys: Tensor, values: Tensor, slots: Tensor, n_slots: int) -> tuple[Tensor, Tensor]:
        """Write keys and values, (B, H, T, K), to slots, (B, T), of at least `n_slots`; return all keys and values."""
        self.keys = _put(self.keys, keys, slots, n_slots)
        self.values = _put(self.values, values, slots, n_slots)
        return self.keys, self.values

    def keep(self, rows: Tensor) -> None:
        """Keep only these rows of the batch."""
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
    """Multi-head attention (section 3.2.2).

    In the paper, projections have no biases and each head has its own keys and values; other networks may differ.

    Args:
        spec: The specification.
        d_model: Width (D).
        eps: ε of the norm of queries and keys, if there is one.
        positions: The positions of self-attention.
    """

    def __init__(
        self, spec: AttentionSpec, d_model: int, eps: float = 1e-5, positions: PositionSpec | None = None
    ) -> None:
        super().__init__()
        self.spec = spec
        self.query = Linear(d_model, spec.d_heads, bias=spec.biases)
        self.key = Linear(d_model, spec.d_kv_heads, bias=spec.biases)
        self.value = Linear(d_model, spec.d_kv_heads, bias=spec.biases)
        self.output = Linear(spec.d_heads, d_model, bias=spec.output_bias)
        self.query_norm = nn.RMSNorm(spec.d_head, eps) if spec.qk_norm else None
        self.key_norm = nn.RMSNorm(spec.d_head, eps) if spec.qk_norm else None
        self.relative = RelativeScores(spec, positions, d_model) if isinstance(positions, RelativeSinusoids) else None

    def forward(self, x: Tensor, inputs: AttentionInputs, cache: KeyValueCache | None = None) -> Tensor:
        """Attention of x, (B, T, D), to itself or to the memory; returns (B, T, D).

        Args:
            x: Queries.
            inputs: What they attend to.
            cache: Keys and values of earlier positions, extended by those of x; or those of the memory.
        """
        spec = self.spec
        keys, values = self._keys_and_values(x, inputs, cache)
        q = rotate(self._heads(self.query(x), self.query_norm), inputs.rotation)  # (B, H, T, K)
        if (group := spec.n_heads // spec.n_kv_heads) > 1:
            keys, values = (each.repeat_interleave(group, dim=1) for each in (keys, values))
        mask = inputs.mask
        if self.relative is not None:
            assert isinstance(mask, Tensor)
            assert inputs.distances is not None
            q, mask = self.relative.content(q), mask + spec.score_scale * self.relative(q, inputs.distances)
        heads = attention(q, keys, values, mask, scale=spec.score_scale, soft_cap=spec.soft_cap)
        return self.output(heads.transpose(1, 2).flatten(2))  # (B, T, D)

    def project(self, x: Tensor, rotation: Rotation | None = None) -> tuple[Tensor, Tensor]:
        """The keys, rotated by position, and values of x, (B, S, D): two tensors, (B, H, S, K)."""
        return rotate(self._heads(self.key(x), self.key_norm), rotation), self._heads(self.value(x))

    def _keys_and_values(
        self, x: Tensor, inputs: AttentionInputs, cache: KeyValueCache | None
    ) -> tuple[Tensor, Tensor]:
        if inputs.memory is not None:
            if cache is None:
                return self.project(inputs.memory)
            if cache.keys is None or cache.values is None:
                cache.keys, cache.values = self.project(inputs.memory)
            return cache.keys, cache.values
        keys, values = self.project(x, inputs.rotation)
        if cache is None or inputs.slots is None:
            return keys, values
        assert isinstance(inputs.mask, Tensor)
        return cache.write(keys, values, inputs.slots, inputs.mask.shape[-1])

    def _heads(self, x: Tensor, norm: nn.Module | None = None) -> Tensor:
        heads = x.unflatten(-1, (-1, self.spec.d_head)).transpose(1, 2)  # (B, H, T, K)
        return heads if norm is None else norm(heads)
