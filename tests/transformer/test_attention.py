import dataclasses
import math

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from heed.models.spec.stack import AttentionSpec
from heed.transformer import attention as attention_module
from heed.transformer.attention import AttentionInputs, KeyValueCache, MultiHeadAttention, attention
from heed.transformer.masks import Causal, as_numbers, causal_mask, packed, text_mask

B, H, T, S, K = 2, 3, 7, 5, 4


def equation_1(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    return scores.masked_fill(~mask, -math.inf).softmax(-1) @ v


def queries_keys_values(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    q, k, v = torch.randn(B, H, T, K), torch.randn(B, H, S, K), torch.randn(B, H, S, K)
    return q.to(dtype), k.to(dtype), v.to(dtype)


def some_mask() -> Tensor:
    mask = torch.rand(B, 1, T, S) < 0.5
    mask[..., 2] = True  # every query sees one key
    return mask


def test_attention_is_equation_1() -> None:
    q, k, v = queries_keys_values()
    mask = some_mask()
    assert_close(attention(q, k, v, mask), equation_1(q, k, v, mask))


@pytest.mark.parametrize("n_keys", [S, attention_module.LONG + 3], ids=["few keys", "many keys"])
def test_scale_bias_and_soft_cap(n_keys: int) -> None:
    """Of scores times 0.3, made 2 tanh(score / 2), then with something added."""
    q, k, v = torch.randn(B, H, T, K), torch.randn(B, H, n_keys, K), torch.randn(B, H, n_keys, K)
    added = torch.randn(H, T, n_keys).masked_fill(torch.rand(T, n_keys) < 0.3, -math.inf)
    scores = q @ k.transpose(-2, -1) * 0.3
    assert_close(attention(q, k, v, added, scale=0.3), (scores + added).softmax(-1) @ v)
    capped = 2 * torch.tanh(scores / 2) + added
    assert_close(attention(q, k, v, added, scale=0.3, soft_cap=2.0), capped.softmax(-1) @ v)


def test_a_mask_of_numbers_is_the_mask() -> None:
    q, k, v = queries_keys_values()
    mask = some_mask()
    assert_close(attention(q, k, v, as_numbers(mask)), attention(q, k, v, mask))


def test_causal_needs_no_mask() -> None:
    q, k, v = (torch.randn(B, H, T, K) for _ in range(3))
    assert_close(attention(q, k, v, Causal()), equation_1(q, k, v, causal_mask(T, q.device)))


def one_by_one(
    q: Tensor, k: Tensor, v: Tensor, bounds: Tensor, _: Tensor, longest: int, __: int, *,
    scale: float, window_size: tuple[int, int],
) -> Tensor:  # fmt: skip
    """What PyTorch's documentation says of varlen_attn, which computes on GPUs alone: texts, (T, H, K), end to end."""
    lengths, (behind, ahead) = bounds.diff().tolist(), window_size
    assert (max(lengths), int(bounds[-1]), bounds.dtype, ahead) == (longest, len(q), torch.int32, 0)
    found = []
    for query, key, value in zip(*(x.transpose(0, 1).split(lengths, dim=1) for x in (q, k, v)), strict=True):
        mask = causal_mask(query.shape[1], query.device)
        mask = mask if behind < 0 else mask.triu(-behind)
        scores = (query @ key.transpose(-2, -1) * scale).masked_fill(~mask, -math.inf)
        found.append((scores.softmax(-1) @ value).transpose(0, 1))
    return torch.cat(found)


def test_packed_texts_need_no_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts of some lengths in a row; places that are padding all are at position 0."""
    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", one_by_one)
    q, k, v = (torch.randn(B, H, T, K) for _ in range(3))
    positions = torch.tensor([[0, 1, 2, 0, 1, 0, 0], [0, 1, 2, 3, 4, 5, 6]])
    mask = text_mask(positions)
    assert_close(attention(q, k, v, packed(positions, q.device)), equation_1(q, k, v, mask))
    near = mask.triu(-2)  # itself and two before
    found = attention(q, k, v, dataclasses.replace(packed(positions, q.device), window=3))
    assert_close(found, equation_1(q, k, v, near))
    assert_close(attention(q, k, v, Causal(window=3)), equation_1(q, k, v, causal_mask(T, q.device).triu(-2)))


def test_true_means_may_attend() -> None:
    q, k, v = queries_keys_values()
    only_one = torch.zeros(T, S, dtype=torch.bool)
    only_one[:, 3] = True
    assert_close(attention(q, k, v, only_one), v[:, :, 3:4].expand(B, H, T, K))


def test_attention_sees_nothing_of_what_is_masked() -> None:
    q, k, v = queries_keys_values()
    mask = torch.tensor([True, False, True, True, False])
    before = attention(q, k, v, mask[None])
    k[:, :, ~mask] = 1e4
    v[:, :, ~mask] = -1e4
    assert torch.equal(attention(q, k, v, mask[None]), before)


def test_bfloat16_on_a_cpu_is_float32_rounded_once() -> None:
    """Value and gradients; rounding to the 8 bits of bfloat16 moves a number by 2^-8 of itself."""
    narrow = [x.requires_grad_() for x in queries_keys_values(torch.bfloat16)]
    wide = [x.detach().float().requires_grad_() for x in narrow]
    mask = some_mask()
    with torch.autocast("cpu", torch.bfloat16):  # as in training; it must not reach the products
        found = attention(narrow[0], narrow[1], narrow[2], mask)
    expected = equation_1(wide[0], wide[1], wide[2], mask)
    assert found.dtype == torch.bfloat16
    assert_close(found.float(), expected, rtol=2**-8, atol=1e-5)
    slope = torch.randn(B, H, T, K).bfloat16()
    gradients = torch.autograd.grad(found, narrow, slope)
    for gradient, reference in zip(gradients, torch.autograd.grad(expected, wide, slope.float()), strict=True):
        assert_close(gradient.float(), reference, rtol=2**-8, atol=1e-5)


@pytest.mark.parametrize("n_heads", [1, 2, 4])
def test_multi_head_attention_is_that_of_pytorch(n_heads: int) -> None:
    d_model = 16
    spec = AttentionSpec(n_heads=n_heads, n_kv_heads=n_heads, d_head=d_model // n_heads)
    ours = MultiHeadAttention(spec, d_model)
    reference = nn.MultiheadAttention(d_model, n_heads, bias=False, batch_first=True)
    with torch.no_grad():
        projections = [ours.query.weight, ours.key.weight, ours.value.weight]
        reference.in_proj_weight.copy_(torch.cat(projections))
        reference.out_proj.weight.copy_(ours.output.weight)
    x, memory = torch.randn(B, T, d_model), torch.randn(B, S, d_model)
    mask = torch.arange(S) < torch.tensor([[S], [2]])  # (B, S)
    expected, _ = reference(x, memory, memory, key_padding_mask=~mask)
    assert_close(ours(x, AttentionInputs(mask[:, None, None], memory=memory)), expected)


def test_the_cache_has_in_each_slot_what_was_put_there_last() -> None:
    keys, values = torch.randn(B, H, T, K), torch.randn(B, H, T, K)
    cache, slots = KeyValueCache(), torch.stack([torch.randperm(T) for _ in range(B)])
    for part in (slice(0, T), slice(0, 1), slice(1, 4), slice(4, T)):  # all, then again the right ones one by one
        offset = T if part == slice(0, T) else 0
        seen = cache.write(keys[:, :, part] + offset, values[:, :, part] + offset, slots[:, part], T + 2)
    for found, expected in zip(seen, (keys, values), strict=True):
        assert found.shape == (B, H, T + 2, K)
        assert torch.equal(found[torch.arange(B)[:, None], :, slots], expected.transpose(1, 2))
        assert not found[:, :, T:].any()
