"""Validation of a network in all processes."""

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from heed.transformer.model import Transformer
from heed.transformer.training.engine import Engine
from heed.transformer.training.objectives.objectives import Loss, Objective, ValidationResult
from heed.transformer.training.runs import checkpoint
from heed.transformer.training.runs.checkpoint import Weights
from heed.transformer.training.runs.run import Run
from heed.transformer.training.sharding import is_sharded, lent

if TYPE_CHECKING:
    from torch.distributed.fsdp import FSDPModule


class Interrupted(Exception):  # noqa: N818 - no error
    """Validation was interrupted."""


class Validator:
    """Validates the network in training, or weights that differ from those in training.

    Args:
        run: The run.
        network: The network in training.
        loss: The network with its loss; sharded if the network is.
        objective: Computes the result.
        engine: The engine.
    """

    def __init__(
        self, run: Run[Any], network: Transformer, loss: nn.Module, objective: Objective[Any], engine: Engine
    ) -> None:
        self._run, self._network, self._loss = run, network, loss
        self._objective, self._engine = objective, engine
        self._other: Transformer | None = None  # a second network, for weights that differ from those in training
        self._is_validating = False
        self.asked_to_stop = False

    def stop(self) -> None:
        """Validate no more; may be called from a signal handler.

        Raises:
            Interrupted: A validation is running, which may take long; it is caught there.
        """
        self.asked_to_stop = True
        if self._is_validating:
            raise Interrupted

    def result(self, weights: Weights | None, number: int) -> ValidationResult | None:
        """Validate a network; None if the validation was interrupted.

        The first process validates for all. Where each process has a part of the network, they validate together.

        Args:
            weights: Weights of the network; None: those in training.
            number: Number of the validation; it selects the example that is shown.
        """
        result: ValidationResult | None = None
        if is_sharded(self._loss):
            result = self._together(self._loss, weights, number)
        elif self._engine.processes.is_first:
            result = self._alone(weights, number)
        return self._engine.processes.told(result)

    def _alone(self, weights: Weights | None, number: int) -> ValidationResult | None:
        network = self._network if weights is None else self._with(weights)
        result: ValidationResult | None = None
        try:
            with torch.inference_mode():
                self._is_validating = True
                if not self.asked_to_stop:
                    result = self._objective.validate(network.eval(), number)
                self._is_validating = False  # also here, because an interruption after the block would not be caught
        except Exception:
            if not self.asked_to_stop:  # else it is an interruption, or what a library has made of one
                raise
        self._is_validating = False
        return result

    def _together(self, loss: "FSDPModule", weights: Weights | None, number: int) -> ValidationResult | None:
        """Validate a sharded network; a signal has to wait, because the other processes would wait for this one."""
        (asked,) = self._engine.processes.most([float(self.asked_to_stop)])
        if asked:
            return None
        assert isinstance(loss, Loss)
        with lent(self._network, weights), torch.no_grad():
            result = loss.eval().validate(number)
            loss.reshard()
        return result

    def _with(self, weights: Weights) -> Transformer:
        """The second network, with these weights."""
        if self._other is None:
            self._other = self._run.new_network().to(self._engine.device)
        checkpoint.put_weights(weights, self._other, self._run.path)
        return self._other
