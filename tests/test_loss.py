import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torch.testing import assert_close

from heed.transformer import loss as loss_module
from heed.transformer.loss import smoothed_cross_entropy

B, T, V, PAD = 3, 7, 13, 2
EPSILONS = pytest.mark.parametrize("epsilon", [0.0, 0.1, 0.7])


def logits_and_targets(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    logits = (3 * torch.randn(B, T, V)).to(dtype).requires_grad_()
    targets = torch.randint(0, V, (B, T))
    targets[0, 4:] = PAD
    targets[2, 1:] = PAD
    return logits, targets


def reference(logits: Tensor, targets: Tensor, epsilon: float) -> Tensor:
    return functional.cross_entropy(
        logits.flatten(0, 1),
        targets.flatten(),
        ignore_index=PAD,
        label_smoothing=epsilon,
        reduction="sum",
    )


@EPSILONS
@pytest.mark.parametrize("chunk", [1 << 21, 5 * V, 1], ids=["whole", "5 rows", "1 row"])
def test_value_and_gradient_are_those_of_pytorch(monkeypatch: pytest.MonkeyPatch, epsilon: float, chunk: int) -> None:
    monkeypatch.setattr(loss_module, "CHUNK", chunk)
    logits, targets = logits_and_targets()
    loss, nll = smoothed_cross_entropy(logits, targets, pad_id=PAD, label_smoothing=epsilon)
    expected = reference(logits, targets, epsilon)
    assert_close(loss, expected)
    assert_close(nll, reference(logits, targets, 0.0))
    # A slope of its own, for training divides the loss by the number of tokens.
    found = torch.autograd.grad(loss / 11, logits)
    assert_close(found, torch.autograd.grad(expected / 11, logits))


@EPSILONS
def test_bfloat16_logits_are_summed_in_float32(epsilon: float) -> None:
    logits, targets = logits_and_targets(torch.bfloat16)
    loss, nll = smoothed_cross_entropy(logits, targets, pad_id=PAD, label_smoothing=epsilon)
    wide = logits.detach().float().requires_grad_()
    expected = reference(wide, targets, epsilon)
    assert loss.dtype == nll.dtype == torch.float32
    assert_close(loss, expected)
    (found,) = torch.autograd.grad(loss, logits)
    assert found.dtype == torch.bfloat16
    # The gradient is rounded once to the 8 bits of bfloat16.
    assert_close(found.float(), torch.autograd.grad(expected, wide)[0], rtol=2**-8, atol=1e-5)


def test_padding_has_neither_loss_nor_gradient() -> None:
    logits, _ = logits_and_targets()
    targets = torch.full((B, T), PAD)
    loss, nll = smoothed_cross_entropy(logits, targets, pad_id=PAD, label_smoothing=0.1)
    assert (loss.item(), nll.item()) == (0, 0)
    assert not torch.autograd.grad(loss, logits)[0].any()


def test_only_the_smoothed_loss_has_a_gradient() -> None:
    logits, targets = logits_and_targets()
    loss, nll = smoothed_cross_entropy(logits, targets, pad_id=PAD, label_smoothing=0.1)
    assert loss.requires_grad
    assert not nll.requires_grad


def test_the_loss_is_least_at_the_smoothed_target() -> None:
    """Then it is the entropy of that target, which no logits can go below."""
    epsilon, targets = 0.3, torch.tensor([[4]])
    smoothed = torch.full((1, 1, V), epsilon / V)
    smoothed[..., 4] += 1 - epsilon
    logits = smoothed.log().requires_grad_()
    loss, _ = smoothed_cross_entropy(logits, targets, pad_id=PAD, label_smoothing=epsilon)
    assert_close(loss, -(smoothed * smoothed.log()).sum())
    (gradient,) = torch.autograd.grad(loss, logits)
    assert_close(gradient, torch.zeros_like(gradient), rtol=0, atol=1e-6)
