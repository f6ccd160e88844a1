import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torch.testing import assert_close

from heed.transformer.training.objectives import loss as loss_module
from heed.transformer.training.objectives.loss import smoothed_cross_entropy

B, T, D, V, PAD = 3, 7, 6, 13, 2
EPSILONS = pytest.mark.parametrize("epsilon", [0.0, 0.1, 0.7])


def states_weight_targets() -> tuple[Tensor, Tensor, Tensor]:
    states = (3 * torch.randn(B, T, D)).requires_grad_()
    weight = torch.randn(V, D).requires_grad_()
    targets = torch.randint(0, V, (B, T))
    targets[0, 4:] = PAD
    targets[2, 1:] = PAD
    return states, weight, targets


def reference(states: Tensor, weight: Tensor, targets: Tensor, epsilon: float) -> Tensor:
    return functional.cross_entropy(
        (states @ weight.T).flatten(0, 1),
        targets.flatten(),
        ignore_index=PAD,
        label_smoothing=epsilon,
        reduction="sum",
    )


@EPSILONS
@pytest.mark.parametrize("chunk", [1 << 21, 5 * V, 1], ids=["whole", "5 rows", "1 row"])
def test_value_and_gradients_are_those_of_pytorch(monkeypatch: pytest.MonkeyPatch, epsilon: float, chunk: int) -> None:
    monkeypatch.setitem(loss_module.CHUNK, "cpu", chunk)
    states, weight, targets = states_weight_targets()
    loss, nll = smoothed_cross_entropy(states, weight, targets, ignored=PAD, label_smoothing=epsilon)
    expected = reference(states, weight, targets, epsilon)
    assert_close(loss, expected)
    assert_close(nll, reference(states, weight, targets, 0.0))
    # A slope of its own, for training divides the loss by the number of tokens.
    found = torch.autograd.grad(loss / 11, (states, weight))
    assert_close(found, torch.autograd.grad(expected / 11, (states, weight)))


@EPSILONS
def test_bfloat16_products_are_summed_in_float32(monkeypatch: pytest.MonkeyPatch, epsilon: float) -> None:
    """Operands and results of the products are rounded to 8 bits, and nothing else is."""
    monkeypatch.setitem(loss_module.CHUNK, "cpu", 5 * V)
    states, weight, targets = states_weight_targets()
    with torch.autocast("cpu", torch.bfloat16):
        loss, nll = smoothed_cross_entropy(states, weight, targets, ignored=PAD, label_smoothing=epsilon)
        rounded = torch.nn.functional.linear(states, weight)
    logits = rounded.detach().float().requires_grad_()
    expected = reference(logits, torch.eye(V), targets, epsilon)
    assert loss.dtype == nll.dtype == torch.float32
    assert_close(loss, expected)
    (slope,) = torch.autograd.grad(expected, logits)
    of_states, of_weight = torch.autograd.grad(loss, (states, weight))
    assert of_states.dtype == of_weight.dtype == torch.float32
    narrow_states, narrow_weight = (each.detach().bfloat16().float() for each in (states, weight))
    # Each of the V or B T terms of a sum is off by 2^-8 of itself at most, and the sum itself again.
    slack = 2**-8 * (slope.abs() @ narrow_weight.abs())
    assert ((of_states - slope @ narrow_weight).abs() <= slack + 2**-8 * of_states.abs()).all()
    slope, narrow_states = slope.flatten(0, 1), narrow_states.flatten(0, 1)
    slack = 2**-8 * (slope.abs().T @ narrow_states.abs())
    # Here each chunk's sum is rounded, and could be as large as the sum of its terms' sizes.
    assert ((of_weight - slope.T @ narrow_states).abs() <= 2 * slack + 1e-6).all()


def test_padding_has_neither_loss_nor_gradient() -> None:
    states, weight, _ = states_weight_targets()
    targets = torch.full((B, T), PAD)
    loss, nll = smoothed_cross_entropy(states, weight, targets, ignored=PAD, label_smoothing=0.1)
    assert (loss.item(), nll.item()) == (0, 0)
    assert not any(gradient.any() for gradient in torch.autograd.grad(loss, (states, weight)))


def test_only_the_smoothed_loss_has_a_gradient() -> None:
    loss, nll = smoothed_cross_entropy(*states_weight_targets(), ignored=PAD, label_smoothing=0.1)
    assert loss.requires_grad
    assert not nll.requires_grad


def test_without_a_gradient_the_values_are_the_same() -> None:
    given = states_weight_targets()
    expected = smoothed_cross_entropy(*given, ignored=PAD, label_smoothing=0.1)
    with torch.inference_mode():
        found = smoothed_cross_entropy(*given, ignored=PAD, label_smoothing=0.1)
    assert_close(found, tuple(value.detach() for value in expected))


def test_a_second_backward_pass_gives_the_same() -> None:
    """A gradient made in advance must not be changed by giving it out."""
    states, weight, targets = states_weight_targets()
    loss, _ = smoothed_cross_entropy(states, weight, targets, ignored=PAD, label_smoothing=0.1)
    once = torch.autograd.grad(loss / 3, (states, weight), retain_graph=True)
    assert_close(torch.autograd.grad(loss / 3, (states, weight)), once)


def test_the_loss_is_least_at_the_smoothed_target() -> None:
    """Then it is the entropy of that target, which no logits can go below."""
    epsilon, targets = 0.3, torch.tensor([[4]])
    smoothed = torch.full((1, 1, V), epsilon / V)
    smoothed[..., 4] += 1 - epsilon
    logits = smoothed.log().requires_grad_()
    loss, _ = smoothed_cross_entropy(logits, torch.eye(V), targets, ignored=PAD, label_smoothing=epsilon)
    assert_close(loss, -(smoothed * smoothed.log()).sum())
    (gradient,) = torch.autograd.grad(loss, logits)
    assert_close(gradient, torch.zeros_like(gradient), rtol=0, atol=1e-6)
