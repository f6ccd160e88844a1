"""Normalization of layers (section 3.1)."""

from torch import nn

from heed.models.spec.stack import NormSpec


def new_norm(spec: NormSpec, d_model: int) -> nn.Module:
    """Layer norm, or RMS norm, of vectors of width D."""
    if spec.kind == "rms":
        return nn.RMSNorm(d_model, eps=spec.eps)
    return nn.LayerNorm(d_model, eps=spec.eps, bias=spec.bias)
