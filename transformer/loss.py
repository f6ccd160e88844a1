"""The training loss: cross-entropy with label smoothing (section 5.4)."""

import torch
from torch import Tensor
from torch.autograd.function import BackwardCFunction, FunctionCtx, once_differentiable

CHUNK = 1 << 21  # logits whose float32 copies exist at a time (8 MiB), and not those of the whole batch


def smoothed_cross_entropy(
    logits: Tensor, targets: Tensor, *, pad_id: int, label_smoothing: float
) -> tuple[Tensor, Tensor]:
    """Cross-entropy against targets that give ε of their mass to all V tokens evenly.

    As in Szegedy et al. (2016, arXiv 1512.00567, section 7): (1 - ε) · -log p(target) + ε · mean of -log p.

    Args:
        logits: (B, T, V), in any precision; the sums are made in float32.
        targets: Token ids, (B, T); padding counts for nothing.
        pad_id: The id of padding.
        label_smoothing: ε.

    Returns:
        The smoothed loss and the plain negative log-likelihood in nats, each summed over the target tokens.
        Only the first has a gradient.
    """
    loss, nll = _SmoothedCrossEntropy.apply(logits.flatten(0, 1), targets.flatten(), pad_id, label_smoothing)  # type: ignore[no-untyped-call]
    return loss, nll


class _SmoothedCrossEntropy(torch.autograd.Function):
    """Makes the gradient together with the loss, a chunk of rows at a time.

    Left to autograd, the loss keeps several float32 copies of the logits and took half of a training step.
    """

    @staticmethod
    def forward(
        ctx: FunctionCtx, logits: Tensor, targets: Tensor, pad_id: int, epsilon: float
    ) -> tuple[Tensor, Tensor]:
        V = logits.shape[1]
        sums = logits.new_zeros(2, dtype=torch.float32)  # of -log p(target), and of the mean of -log p
        gradient = torch.empty_like(logits)
        for rows in torch.arange(len(logits)).split(max(1, CHUNK // V)):
            chunk = slice(int(rows[0]), int(rows[-1]) + 1)
            target = targets[chunk, None]
            ignored = target == pad_id
            log_probs = logits[chunk].float().log_softmax(-1)
            sums[0] -= log_probs.gather(1, target).masked_fill(ignored, 0).sum()
            sums[1] -= log_probs.mean(1, keepdim=True).masked_fill(ignored, 0).sum()
            # d loss / d logits = p - the smoothed target
            slope = log_probs.exp_().sub_(epsilon / V)
            slope.scatter_add_(1, target, torch.full_like(slope[:, :1], epsilon - 1))
            gradient[chunk] = slope.masked_fill_(ignored, 0)
        ctx.save_for_backward(gradient)
        loss, nll = (1 - epsilon) * sums[0] + epsilon * sums[1], sums[0].clone()
        ctx.mark_non_differentiable(nll)
        return loss, nll

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride] - the decorator hides the names
        ctx: BackwardCFunction, *slopes: Tensor
    ) -> tuple[Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        return gradient.mul_(slopes[0]), None, None, None
