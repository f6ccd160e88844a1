"""Exponential moving average of the weights, which is validated and exported in their place."""

import torch
from torch import Tensor, nn

from heed.transformer.training.sharding import spread


class MovingAverage:
    """The exponential moving average of a network's weights (Polyak and Juditsky, 1992; as used by Izmailov et al.).

    It decays faster in the first steps, to forget the initial weights: the decay of step t is
    min(decay, (1 + t) / (10 + t)).

    Args:
        network: The network in training.
        decay: Share of the average that remains in each step.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self._decay = decay
        self._parameters = dict(network.named_parameters())
        self.weights: dict[str, Tensor] = {
            name: parameter.detach().clone() for name, parameter in self._parameters.items()
        }

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Include the weights after a step, counted from 1."""
        share = 1 - min(self._decay, (1 + step) / (10 + step))
        for name, average in self.weights.items():
            average.lerp_(self._parameters[name].detach(), share)

    @torch.no_grad()
    def put(self, weights: dict[str, Tensor]) -> None:
        """Restore an earlier average."""
        for name, average in self.weights.items():
            average.copy_(spread(weights[name], average))
