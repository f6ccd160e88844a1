"""Products by oneDNN against PyTorch's own."""

import pytest
import torch
from torch.autograd import gradcheck
from torch.nn import functional

from heed.transformer.kernels import linear
from heed.transformer.kernels.linear import Linear, product

SHAPES = [((7, 16), 32), ((7, 32), 16), ((2, 3, 8), 8), ((1, 8), 5), ((0, 8), 5)]


@pytest.mark.parametrize(("shape", "n_outputs"), SHAPES)
@pytest.mark.parametrize("bias", [False, True])
def test_linear_is_pytorchs(shape: tuple[int, ...], n_outputs: int, bias: bool) -> None:
    torch.manual_seed(1)
    layer, x = Linear(shape[-1], n_outputs, bias=bias), torch.randn(shape)
    slopes = torch.randn(*shape[:-1], n_outputs)
    results = []
    for apply in (layer, lambda x: functional.linear(x, layer.weight, layer.bias)):
        layer.zero_grad()
        mine = x.clone().requires_grad_()
        y = apply(mine)
        y.backward(slopes)
        results.append([y, mine.grad, *(parameter.grad for parameter in layer.parameters())])
    torch.testing.assert_close(*results)


def test_where_nobody_asks_for_a_gradient_none_is_made() -> None:
    layer = Linear(4, 3)
    layer.weight.requires_grad_(False)
    x = torch.randn(2, 4)
    layer(x).sum().backward()
    assert layer.weight.grad is None
    assert layer.bias.grad is not None
    with torch.no_grad():
        assert not layer(x).requires_grad


def test_other_precisions_are_left_to_pytorch() -> None:
    layer, x = Linear(6, 5).double(), torch.randn(3, 6, dtype=torch.float64, requires_grad=True)
    assert gradcheck(layer, (x,))
    layer = Linear(6, 5)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(torch.randn(3, 6)).dtype == torch.bfloat16


@pytest.mark.parametrize("onednn", [False, True])
def test_a_product_takes_turned_matrices(monkeypatch: pytest.MonkeyPatch, onednn: bool) -> None:
    monkeypatch.setattr(linear, "ONEDNN", linear.ONEDNN and onednn)
    x, weight = torch.randn(6, 4).t(), torch.randn(6, 3).t()  # (4, 6), (3, 6)
    torch.testing.assert_close(product(x, weight), torch.einsum("mk,nk->mn", x, weight))
