"""Figures of a step that a GPU may still be computing."""

from collections.abc import Callable

import torch
from torch import Tensor

from heed.transformer.training.runs.log import StepReport


class PendingReport:
    """The report of a step, with figures that may still be computed on a GPU."""

    def __init__(self, report: Callable[..., StepReport], figures: Tensor) -> None:
        self.report, self._figures = report, figures
        if figures.is_cuda:
            self._figures = torch.empty(figures.shape, pin_memory=True).copy_(figures, non_blocking=True)
            self._arrived = torch.cuda.Event()
            self._arrived.record()

    def figures(self) -> list[float]:
        """Summed loss and negative log-likelihood, and the gradient norm."""
        if self._figures.is_pinned():
            self._arrived.synchronize()
        return self._figures.tolist()
