import dataclasses
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.testing import assert_close

from heed.models.spec.stack import AttentionSpec, FeedForwardSpec, NormSpec, StackSpec
from heed.transformer.attention import AttentionInputs, MultiHeadAttention
from heed.transformer.block import Block, Residual
from heed.transformer.feed_forward import FeedForward
from heed.transformer.masks import causal_mask

B, S, T, D, F, H = 2, 5, 7, 16, 24, 4
PLACEMENTS = pytest.mark.parametrize("placement", ["after", "before"])
BIASES = pytest.mark.parametrize("biases", [False, True], ids=["the paper's", "biases"])


def stack(placement: str, *, biases: bool = False, activation: str = "relu") -> StackSpec:
    return StackSpec(
        attention=AttentionSpec(n_heads=H, n_kv_heads=H, d_head=D // H, biases=biases, output_bias=biases),
        feed_forward=FeedForwardSpec(d_ff=F, activation=activation),
        norm=NormSpec(placement=placement),
    )


def block(spec: StackSpec, *, crosses: bool) -> Block:
    """One in which no norm is neutral and no bias zero."""
    found = Block(spec, D, 0.0, crosses=crosses)
    randomize(found)
    return found


def randomize(module: nn.Module) -> None:
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.3)


@torch.no_grad()
def copy_attention(ours: MultiHeadAttention, reference: nn.MultiheadAttention) -> None:
    """PyTorch's layers cannot leave out their biases alone: where ours has none, theirs are 0."""
    parts = [ours.query, ours.key, ours.value]
    reference.in_proj_weight.copy_(torch.cat([part.weight for part in parts]))
    reference.in_proj_bias.zero_()
    reference.out_proj.weight.copy_(ours.output.weight)
    reference.out_proj.bias.zero_()
    if ours.output.bias is not None:
        reference.in_proj_bias.copy_(torch.cat([part.bias for part in parts]))
        reference.out_proj.bias.copy_(ours.output.bias)


def copy_feed_forward(ours: FeedForward, reference: nn.TransformerEncoderLayer | nn.TransformerDecoderLayer) -> None:
    reference.linear1.load_state_dict(ours.inner.state_dict())
    reference.linear2.load_state_dict(ours.outer.state_dict())


@pytest.mark.parametrize("activation", ["relu", "gelu"])
@BIASES
@PLACEMENTS
def test_an_encoder_s_layer_is_that_of_pytorch(placement: str, biases: bool, activation: str) -> None:
    ours = block(stack(placement, biases=biases, activation=activation), crosses=False)
    reference = nn.TransformerEncoderLayer(
        D, H, F, dropout=0.0, batch_first=True, norm_first=placement == "before", activation=activation
    )
    copy_attention(ours.self_attention, reference.self_attn)
    copy_feed_forward(ours.feed_forward, reference)
    reference.norm1.load_state_dict(ours.self_residual.norm.state_dict())
    reference.norm2.load_state_dict(ours.feed_residual.norm.state_dict())

    x = torch.randn(B, S, D)
    mask = torch.arange(S) < torch.tensor([[S], [3]])  # (B, S)
    expected = reference(x, src_key_padding_mask=~mask)
    assert_close(ours(x, AttentionInputs(mask[:, None, None])), expected)


@BIASES
@PLACEMENTS
def test_a_decoder_s_layer_is_that_of_pytorch(placement: str, biases: bool) -> None:
    ours = block(stack(placement, biases=biases), crosses=True)
    reference = nn.TransformerDecoderLayer(D, H, F, dropout=0.0, batch_first=True, norm_first=placement == "before")
    copy_attention(ours.self_attention, reference.self_attn)
    copy_attention(ours.cross_attention, reference.multihead_attn)
    copy_feed_forward(ours.feed_forward, reference)
    reference.norm1.load_state_dict(ours.self_residual.norm.state_dict())
    reference.norm2.load_state_dict(ours.cross_residual.norm.state_dict())
    reference.norm3.load_state_dict(ours.feed_residual.norm.state_dict())

    x, memory = torch.randn(B, T, D), torch.randn(B, S, D)
    memory_mask = torch.arange(S) < torch.tensor([[S], [3]])  # (B, S)
    causal = causal_mask(T, x.device)
    expected = reference(x, memory, tgt_mask=~causal, memory_key_padding_mask=~memory_mask)
    found = ours(x, AttentionInputs(causal), AttentionInputs(memory_mask[:, None, None], memory=memory))
    assert_close(found, expected)


def test_the_feed_forward_network_is_equation_2() -> None:
    layer = FeedForward(FeedForwardSpec(d_ff=F), D)
    randomize(layer)
    x = torch.randn(B, T, D)
    inner = torch.clamp(x @ layer.inner.weight.T + layer.inner.bias, min=0)
    assert_close(layer(x), inner @ layer.outer.weight.T + layer.outer.bias)


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": functional.relu,
    "gelu": lambda x: x * 0.5 * (1 + torch.erf(x / 2**0.5)),
    "gelu_tanh": lambda x: x * 0.5 * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (x + 0.044715 * x**3))),
    "silu": lambda x: x * torch.sigmoid(x),
}


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_gate_multiplies(activation: str) -> None:
    layer = FeedForward(FeedForwardSpec(d_ff=F, activation=activation, gated=True, biases=False), D)
    randomize(layer)
    assert layer.gate is not None
    x = torch.randn(B, T, D)
    inner = ACTIVATIONS[activation](x @ layer.gate.weight.T) * (x @ layer.inner.weight.T)
    assert_close(layer(x), inner @ layer.outer.weight.T)


class DropAll(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x)


@PLACEMENTS
def test_dropout_stands_between_a_sublayer_and_its_residual(placement: str) -> None:
    """Where all that a sub-layer puts out is dropped, its input is left (section 5.4)."""
    residual = Residual(stack(placement), D, 0.1)
    randomize(residual)
    residual.add_module("dropout", DropAll())
    x = torch.randn(B, S, D)
    assert_close(residual(x, torch.exp), residual.norm(x) if placement == "after" else x)


@pytest.mark.parametrize("kind", ["layer", "rms"])
def test_norms_are_the_papers(kind: str) -> None:
    """Layer norm by the mean and variance of a vector, RMS norm by its mean square; ε counts where that is small."""
    spec = dataclasses.replace(stack("after"), norm=NormSpec(kind=kind, eps=1e-2))
    norm = Residual(spec, D, 0.0).norm
    randomize(norm)
    x = torch.randn(B, S, D) * 0.1
    centred = x - x.mean(-1, keepdim=True) if kind == "layer" else x
    expected = centred / (centred.square().mean(-1, keepdim=True) + 1e-2).sqrt() * norm.get_parameter("weight")
    expected = expected + norm.get_parameter("bias") if kind == "layer" else expected
    assert_close(norm(x), expected)
