"""The training loss: cross-entropy with label smoothing (section 5.4)."""

import torch
from torch import Tensor
from torch.autograd.function import BackwardCFunction, FunctionCtx, once_differentiable

from heed.transformer.kernels.linear import product

CHUNK = {"cpu": 1 << 22, "cuda": 1 << 27}  # number of logits in memory at a time, instead of those of the whole batch


def smoothed_cross_entropy(
    states: Tensor,
    weight: Tensor,
    targets: Tensor,
    *,
    ignored: int,
    label_smoothing: float,
    bias: Tensor | None = None,
    soft_cap: float | None = None,
) -> tuple[Tensor, Tensor]:
    """Cross-entropy of the logits `states @ weight.T` with targets that spread ε of their mass over all V tokens.

    As in Szegedy et al. (2016, arXiv 1512.00567, section 7): (1 - ε) · -log p(target) + ε · mean of -log p. Under
    autocast the two matrix products use its precision, and sums use float32.

    Args:
        states: The network's final states, (B, T, D).
        weight: The output matrix, (V, D).
        targets: Token ids, (B, T); on the CPU, so that finding those that are ignored needs no GPU sync.
        ignored: The target without loss.
        label_smoothing: ε.
        bias: Added to the logits, (V,).
        soft_cap: c of logits c · tanh(logit / c).

    Returns:
        The smoothed loss and the plain negative log-likelihood in nats, each summed over the target tokens. Only the
        first has a gradient.
    """
    device = states.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else states.dtype
    rows = (targets.flatten() != ignored).nonzero().squeeze(1)
    chosen = rows.to(states.device), targets.flatten()[rows].to(states.device)
    loss, nll = _SmoothedCrossEntropy.apply(  # type: ignore[no-untyped-call]
        states.flatten(0, 1), weight, bias, *chosen, label_smoothing, soft_cap, dtype, torch.is_grad_enabled()
    )
    return loss, nll


class _SmoothedCrossEntropy(torch.autograd.Function):
    """Computes logits, loss and gradients together, one chunk of rows at a time.

    With autograd, the logits of all rows and several float32 copies exist at once, and filling that memory takes longer
    than compute them.
    """

    @staticmethod
    def forward(
        ctx: FunctionCtx,
        states: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        rows: Tensor,
        targets: Tensor,
        epsilon: float,
        soft_cap: float | None,
        dtype: torch.dtype,
        differentiate: bool,
    ) -> tuple[Tensor, Tensor]:
        V = len(weight)
        sums = states.new_zeros(2, dtype=torch.float32)  # weights of -log p(target) and of the mean of -log p
        learnt = (states, weight) if bias is None else (states, weight, bias)
        gradients = tuple(torch.zeros_like(each) for each in learnt) if differentiate else ()
        narrow = weight.to(dtype)
        size = max(1, CHUNK[states.device.type] // V)
        for row, target in zip(rows.split(size), targets[:, None].split(size), strict=True):
            x = states[row].to(dtype)
            logits = product(x, narrow)
            if bias is not None:
                logits = logits + bias.to(dtype)
            if soft_cap is not None:
                logits = soft_cap * torch.tanh(logits / soft_cap)
            slope = logits.softmax(1, dtype=torch.float32)
            # the largest p is 1 / sum of exp(logit - largest logit)
            log_sum = logits.amax(1).float() - slope.amax(1).log()
            sums[0] += (log_sum - logits.gather(1, target).squeeze(1)).sum()
            sums[1] += (log_sum - logits.mean(1, dtype=torch.float32)).sum()
            if gradients:
                # d loss / d logits = p - the smoothed target
                slope.sub_(epsilon / V)
                slope.scatter_add_(1, target, torch.full_like(slope[:, :1], epsilon - 1))
                if soft_cap is not None:
                    slope.mul_(1 - (logits / soft_cap).square())
                if bias is not None:
                    gradients[2].add_(slope.sum(0))
                slope = slope.to(dtype)
                gradients[0][row] = product(slope, narrow.t()).to(states.dtype)
                if dtype == weight.dtype:
                    gradients[1].addmm_(slope.t(), x)
                else:  # the sum over chunks stays in float32
                    gradients[1].add_(slope.t() @ x)
        ctx.save_for_backward(*gradients)
        loss, nll = (1 - epsilon) * sums[0] + epsilon * sums[1], sums[0].clone()
        ctx.mark_non_differentiable(nll)
        return loss, nll

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride] - the decorator hides the names
        ctx: BackwardCFunction, *slopes: Tensor
    ) -> tuple[Tensor | None, ...]:
        of_states, of_weight, *of_bias = (gradient * slopes[0] for gradient in ctx.saved_tensors)
        return of_states, of_weight, of_bias[0] if of_bias else None, *[None] * 6
