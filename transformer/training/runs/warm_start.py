"""Warm start: initial weights and vocabulary from another run or a bundle."""

import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch

from heed.models.spec.network import NetworkSpec
from heed.models.spec.tables import to_table
from heed.models.tokenizers.files import file_names, model_files
from heed.transformer.data.shortlist import Shortlist
from heed.transformer.model import Transformer
from heed.transformer.training.runs import checkpoint
from heed.transformer.training.runs.checkpoint import Weights, grown
from heed.transformer.training.runs.import_record import ImportRecord
from heed.transformer.training.runs.run import open_run
from heed.transformer.training.runs.settings import TrainConfig


@dataclasses.dataclass(frozen=True)
class InitialNetwork:
    """A trained network as the start of a run."""

    task: str
    network: dict[str, object]  # the table of its description
    tokenizer: tuple[str, ...]  # its files; none of an imported network
    languages: dict[str, object]  # its languages, by the names of `TranslationConfig`
    weights: Weights
    shortlist: Shortlist | None = None  # of a translation network with a large vocabulary
    imported: ImportRecord | None = None  # of an imported network
    files: Mapping[str, bytes] = dataclasses.field(default_factory=dict)  # of its tokenizer, by their names in a run

    @property
    def digests(self) -> dict[str, str]:
        """SHA-256 of the tokenizer's files by name, hexadecimal."""
        return {name: hashlib.sha256(content).hexdigest() for name, content in self.files.items()}

    def weights_for(self, network: NetworkSpec, config: TrainConfig) -> Weights:
        """The weights to begin with; the rows of pieces that were added are those of a fresh network."""
        if not config.extend_vocabulary:
            return self.weights
        torch.manual_seed(config.seed)
        return grown(self.weights, Transformer(network))


def from_run(path: Path) -> InitialNetwork:
    """The best checkpoint of a run.

    Raises:
        HeedError: The run is damaged or has no checkpoint.
    """
    run = open_run(path)
    best, _ = run.best()
    languages = {name: value for name, value in to_table(run.train).items() if name.endswith("_language")}
    weights, network = checkpoint.read_weights(best), to_table(run.spec)
    if run.imported:
        files = tokenizer_contents(path, run.imported)
        return InitialNetwork(run.task, network, (), languages, weights, imported=run.imported, files=files)
    names = tuple(str((path / name).absolute()) for name in model_files(path))
    return InitialNetwork(run.task, network, names, languages, weights, Shortlist.load(path))


def tokenizer_contents(path: Path, imported: ImportRecord) -> dict[str, bytes]:
    """The files of the tokenizer of an imported model, in a run or a bundle."""
    return {name: (path / name).read_bytes() for name in file_names(path, imported.conventions)}
