"""A family of networks: what an importer is made of."""

import dataclasses
from collections.abc import Callable, Mapping

from heed.export.importers.formats.checkpoint import Checkpoint
from heed.export.importers.formats.settings import Settings
from heed.export.importers.formats.tensors import StoredTensor, Tensors
from heed.export.importers.tokenizers.vocabulary import Vocabulary
from heed.export.importers.weights import ImportedWeights, TensorSource
from heed.models.errors import ModelError
from heed.models.spec.network import NetworkSpec

NOTHING = r"(?!)"  # matches no name


@dataclasses.dataclass(frozen=True, kw_only=True)
class Family:
    """Maps of a configuration and of names of tensors to heed's."""

    network: Callable[[Settings, Tensors], NetworkSpec]
    origin: Callable[[str, NetworkSpec], TensorSource]  # of a parameter, by its name
    normal: Callable[[Tensors], Tensors]  # tensors by the names that they usually have
    copies: Callable[[NetworkSpec], Mapping[str, str]]  # tensors that may be there twice: whose copies they are
    vocabulary: Callable[[Checkpoint, NetworkSpec], Vocabulary]  # the tokenizer, as a bundle has it
    harmless: str = NOTHING  # a pattern of names of tensors that no number depends on
    pooling: str = "mean"  # of an encoder alone, where no file beside it says another

    def read(self, settings: Settings, tensors: Tensors) -> tuple[NetworkSpec, ImportedWeights]:
        """The network of a checkpoint, and its parameters.

        Raises:
            ModelError: The checkpoint is damaged, or no network of this family that heed can run.
        """
        named = self.normal(tensors)
        try:
            spec = self.network(settings, named)
        except ModelError as error:  # a description's own do not say of which file it is
            told = str(error)
            raise ModelError(told if told.startswith(settings.where) else f"{settings.where}: {told}") from None
        return spec, ImportedWeights(
            spec,
            named,
            lambda name: self.origin(name, spec),
            copies=self.copies(spec),
            harmless=self.harmless,
            where=settings.where,
        )


def with_prefix(tensors: Tensors, prefix: str, heads: tuple[str, ...]) -> dict[str, StoredTensor]:
    """The tensors by the names that they have in a whole model, where a file holds the network without its head.

    Args:
        tensors: By the names in the file.
        prefix: What names in a whole model begin with.
        heads: Beginnings of names without it.
    """
    if any(name.startswith(prefix) for name in tensors):
        return dict(tensors)
    return {name if name.startswith(heads) else prefix + name: tensor for name, tensor in tensors.items()}
