"""Dropout (section 5.4; Srivastava et al., 2014)."""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Dropout(nn.Module):
    """In training, zeroes each activation with probability p and scales the others by 1 / (1 - p).

    On a CPU, random numbers take longer than the rest of a small network's layer. So one 64-bit number decides about
    four activations (p is then exact to 1/65536), and NumPy draws it, three times as fast as PyTorch, from a seed that
    PyTorch draws.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Drop activations of x, of any shape."""
        if not self.training or self.p == 0:
            return x
        if x.device.type != "cpu":
            return F.dropout(x, self.p)
        seed = int(torch.randint(2**63 - 1, ()))
        draws = np.random.Generator(np.random.SFC64(seed)).integers(2**64, size=-(-x.numel() // 4), dtype=np.uint64)
        sixteenths = torch.from_numpy(draws.view(np.int16))[: x.numel()].view(x.shape)  # uniform over all such numbers
        threshold = min(round(self.p * 2**16), 2**16 - 1) - 2**15
        # Computed as numbers directly: a comparison to booleans with conversion takes eight times as long.
        kept = torch.ge(sixteenths, threshold, out=torch.empty_like(x))
        return x * kept.mul_(1 / (1 - self.p))
