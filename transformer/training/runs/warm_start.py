"""Warm start: initial weights and vocabulary from another run or a bundle."""

import dataclasses
from pathlib import Path

from heed.models.spec.tables import to_table
from heed.models.tokenizers.subwords import tokenizer_files
from heed.transformer.data.shortlist import Shortlist
from heed.transformer.training.runs import checkpoint
from heed.transformer.training.runs.checkpoint import Weights
from heed.transformer.training.runs.run import open_run


@dataclasses.dataclass(frozen=True)
class InitialNetwork:
    """A trained network as the start of a run."""

    task: str
    network: dict[str, object]  # the table of its description
    tokenizer: tuple[str, ...]  # its files
    languages: dict[str, object]  # its languages, by the names of `TranslationConfig`
    weights: Weights
    shortlist: Shortlist | None  # of a translation network with a large vocabulary


def from_run(path: Path) -> InitialNetwork:
    """The best checkpoint of a run.

    Raises:
        HeedError: The run is damaged or has no checkpoint.
    """
    run = open_run(path)
    best, _ = run.best()
    files = tuple(str((path / name).absolute()) for name in tokenizer_files(path))
    languages = {name: value for name, value in to_table(run.train).items() if name.endswith("_language")}
    return InitialNetwork(
        run.task, to_table(run.spec), files, languages, checkpoint.read_weights(best), Shortlist.load(path)
    )
