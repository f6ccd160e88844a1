"""The parameters of a network, out of the tensors of a checkpoint: each tensor is used, or known to be harmless."""

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from heed.export.importers.formats.tensors import Tensors
from heed.models.arrays import FloatArray
from heed.models.errors import ModelError
from heed.models.spec.network import NetworkSpec
from heed.models.spec.parameters import Shape, parameters

IMPOSSIBLE = -200.0  # a logit so small that a probability is 0, and whose float32 is exact to 2e-5


@dataclasses.dataclass(frozen=True)
class TensorSource:
    """Where a parameter is in a checkpoint."""

    name: str  # of the tensor
    change: Callable[..., FloatArray] | None = None  # what makes the parameter of it and others; None: it is the same
    others: tuple[str, ...] = ()  # further tensors that it is made of


class ImportedWeights(Mapping[str, FloatArray]):
    """The parameters of a network by heed's names; each is read when it is asked for, and not kept.

    Args:
        spec: The network.
        tensors: Of the checkpoint.
        origin: Where each parameter is.
        copies: Tensors that hold the same numbers as another one, and are there in some files.
        harmless: A pattern of the names of tensors that no number depends on.
        where: What errors call the checkpoint.

    Raises:
        ModelError: A parameter is missing or has another shape, or a tensor is not used.
    """

    def __init__(
        self,
        spec: NetworkSpec,
        tensors: Tensors,
        origin: Callable[[str], TensorSource],
        *,
        copies: Mapping[str, str],
        harmless: str,
        where: str,
    ) -> None:
        n_layers = sum(stack.n_layers for stack in spec.stacks.values())
        if n_layers > len(tensors):  # before all names are listed, of which there could be billions
            raise ModelError(f"{where}: {n_layers:,} layers in the configuration, and {len(tensors):,} tensors in all")
        self._shapes, self._tensors, self._where = parameters(spec), tensors, where
        self._origins = {name: origin(name) for name in self._shapes}
        used = {name for each in self._origins.values() for name in (each.name, *each.others)}
        if missing := sorted(used - tensors.keys()):
            raise ModelError(f"{where}: has no tensor {missing[0]}; get the model again")
        self._refuse_shapes()
        self._refuse_unused(used, copies, harmless)

    def __getitem__(self, name: str) -> FloatArray:
        origin = self._origins[name]
        array, *others = (self._tensors[part].read() for part in (origin.name, *origin.others))
        changed = np.require(array if origin.change is None else origin.change(array, *others), requirements=["C", "W"])
        if changed.shape != self._shapes[name]:
            raise self._wrong_shape(name, changed.shape)
        if not np.isfinite(changed).all():
            raise ModelError(f"{self._where}: {origin.name} holds numbers that are none (NaN or infinite)")
        return changed

    def __iter__(self) -> Iterator[str]:
        return iter(self._shapes)

    def __len__(self) -> int:
        return len(self._shapes)

    def _refuse_shapes(self) -> None:
        for name, origin in self._origins.items():
            shape = self._tensors[origin.name].shape
            if origin.change is None and shape != self._shapes[name]:
                raise self._wrong_shape(name, shape)

    def _wrong_shape(self, name: str, shape: Shape) -> ModelError:
        return ModelError(
            f"{self._where}: {self._origins[name].name} has the shape {shape}, and the configuration means "
            f"{self._shapes[name]}; get the model again"
        )

    def _refuse_unused(self, used: set[str], copies: Mapping[str, str], harmless: str) -> None:
        for name in self._tensors.keys() - used:
            original = copies.get(name)
            if original in used and self._tensors[name].equals(self._tensors[original]):
                continue
            if original in used:
                raise ModelError(f"{self._where}: {name} differs from {original}, and this family ties the two")
            if not re.fullmatch(harmless, name):
                raise ModelError(f"{self._where}: heed has no use for the tensor {name}, so it is of another network")


@dataclasses.dataclass(frozen=True)
class WithoutTokens(Mapping[str, FloatArray]):
    """The parameters of a network with a bias of logits, in which some tokens have no probability."""

    weights: Mapping[str, FloatArray]
    tokens: tuple[int, ...]

    def __getitem__(self, name: str) -> FloatArray:
        array = self.weights[name]
        if name == "projection.bias":
            array = array.copy()
            array[list(self.tokens)] = IMPOSSIBLE
        return array

    def __iter__(self) -> Iterator[str]:
        return iter(self.weights)

    def __len__(self) -> int:
        return len(self.weights)


def apart(tensors: Tensors, output: str, embedding: str) -> bool:
    """Whether a checkpoint has an output matrix of its own: it is there, and differs from the embedding."""
    return output in tensors and (embedding not in tensors or not tensors[output].equals(tensors[embedding]))
