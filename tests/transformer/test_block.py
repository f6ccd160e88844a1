import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from heed.models.spec.config import ModelConfig
from heed.transformer.attention import MultiHeadAttention
from heed.transformer.block import DecoderLayer, EncoderLayer, FeedForward, Residual
from heed.transformer.masks import causal_mask

B, S, T, D, F, H = 2, 5, 7, 16, 24, 4


def config(norm: str) -> ModelConfig:
    return ModelConfig(n_layers=1, d_model=D, d_ff=F, n_heads=H, dropout=0.0, norm=norm)


def randomize(module: nn.Module) -> None:
    """So that no norm is neutral and no bias zero."""
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.3)


@torch.no_grad()
def copy_attention(ours: MultiHeadAttention, reference: nn.MultiheadAttention) -> None:
    """Ours has no biases, as in the paper; PyTorch's layers cannot leave out theirs alone."""
    weights = [ours.query.weight, ours.key.weight, ours.value.weight]
    reference.in_proj_weight.copy_(torch.cat(weights))
    reference.in_proj_bias.zero_()
    reference.out_proj.weight.copy_(ours.output.weight)
    reference.out_proj.bias.zero_()


def copy_feed_forward(ours: FeedForward, reference: nn.TransformerEncoderLayer | nn.TransformerDecoderLayer) -> None:
    reference.linear1.load_state_dict(ours.inner.state_dict())
    reference.linear2.load_state_dict(ours.outer.state_dict())


@pytest.mark.parametrize("norm", ["post", "pre"])
def test_an_encoder_layer_is_that_of_pytorch(norm: str) -> None:
    ours = EncoderLayer(config(norm))
    randomize(ours)
    reference = nn.TransformerEncoderLayer(D, H, F, dropout=0.0, batch_first=True, norm_first=norm == "pre")
    copy_attention(ours.self_attention, reference.self_attn)
    copy_feed_forward(ours.feed_forward, reference)
    reference.norm1.load_state_dict(ours.self_residual.norm.state_dict())
    reference.norm2.load_state_dict(ours.feed_residual.norm.state_dict())

    x = torch.randn(B, S, D)
    mask = torch.arange(S) < torch.tensor([[S], [3]])  # (B, S)
    expected = reference(x, src_key_padding_mask=~mask)
    assert_close(ours(x, mask[:, None, None]), expected)


@pytest.mark.parametrize("norm", ["post", "pre"])
def test_a_decoder_layer_is_that_of_pytorch(norm: str) -> None:
    ours = DecoderLayer(config(norm))
    randomize(ours)
    reference = nn.TransformerDecoderLayer(D, H, F, dropout=0.0, batch_first=True, norm_first=norm == "pre")
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
    projected = ours.cross_attention.project(memory)
    found = ours(x, causal, projected, memory_mask[:, None, None], lambda keys, values: (keys, values))
    assert_close(found, expected)


def test_the_feed_forward_network_is_equation_2() -> None:
    layer = FeedForward(d_model=D, d_ff=F)
    randomize(layer)
    x = torch.randn(B, T, D)
    inner = torch.clamp(x @ layer.inner.weight.T + layer.inner.bias, min=0)
    assert_close(layer(x), inner @ layer.outer.weight.T + layer.outer.bias)


class DropAll(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x)


@pytest.mark.parametrize("norm", ["post", "pre"])
def test_dropout_stands_between_a_sublayer_and_its_residual(norm: str) -> None:
    """Where all that a sub-layer puts out is dropped, its input is left (section 5.4)."""
    residual = Residual(nn.LayerNorm(D), 0.1, norm_first=norm == "pre")
    randomize(residual)
    residual.add_module("dropout", DropAll())
    x = torch.randn(B, S, D)
    assert_close(residual(x, torch.exp), residual.norm(x) if norm == "post" else x)
