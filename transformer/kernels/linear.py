"""Matrix products with weights; on a CPU in float32 with the faster of PyTorch's two libraries.

PyTorch computes float32 products with its BLAS and bfloat16 products with oneDNN. oneDNN's float32 kernels are faster
if the BLAS is not tuned for the processor: by a tenth to a third on an AMD EPYC. Both sum in float32, in different
orders.
"""

import torch
from torch import Tensor, nn
from torch.autograd.function import BackwardCFunction, FunctionCtx, once_differentiable
from torch.nn import functional as F

ONEDNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def product(x: Tensor, weight: Tensor) -> Tensor:
    """The matrix product x weightᵀ of (M, K) and (N, K), (M, N); without a gradient."""
    if _for_onednn(x) and x.numel() > 0:
        return torch.ops.mkldnn._linear_pointwise(x, weight, None, "none", [], "")
    return x @ weight.t()


def _for_onednn(x: Tensor) -> bool:
    return ONEDNN and x.device.type == "cpu" and x.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")


class Linear(nn.Linear):
    """The affine map x Wᵀ + b: PyTorch's layer, computed with `product`."""

    def forward(self, x: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride] - another name for it
        """Transform the last dimension of x, (..., K), to (..., N)."""
        if not _for_onednn(x):
            return F.linear(x, self.weight, self.bias)
        y: Tensor = _Affine.apply(x.flatten(0, -2), self.weight, self.bias)  # type: ignore[no-untyped-call]
        return y.unflatten(0, x.shape[:-1])


class _Affine(torch.autograd.Function):
    """x Wᵀ + b of matrices (M, K) and (N, K), and its gradients."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        y = product(x, weight)
        return y if bias is None else y.add_(bias)

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride] - the decorator hides the names
        ctx: BackwardCFunction, *slopes: Tensor
    ) -> tuple[Tensor | None, ...]:
        x, weight = list(ctx.saved_tensors)
        x_wants, weight_wants, bias_wants = list(ctx.needs_input_grad)
        (slope,) = slopes
        return (
            product(slope, weight.t()) if x_wants else None,
            _by_weight(x, slope) if weight_wants else None,
            slope.sum(0) if bias_wants else None,
        )


def _by_weight(x: Tensor, slope: Tensor) -> Tensor:
    """The gradient slopeᵀ x of the weight; oneDNN is slower unless the weight is wider than high."""
    return product(slope.t(), x.t()) if x.shape[1] > slope.shape[1] else slope.t() @ x
