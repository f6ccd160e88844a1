"""A training run on disk: settings, tokenizers, validation text, checkpoints."""

import fcntl
import os
import shutil
import tomllib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar

import tomli_w

from heed.models.errors import HeedError, ModelError
from heed.models.runs.settings import LIMITS, config_file, read_config
from heed.models.spec.network import NetworkSpec
from heed.models.spec.preset import network_spec
from heed.models.spec.tables import defaults, from_table, to_table
from heed.models.system.files import write_whole
from heed.models.tokenizers.files import file_names
from heed.models.tokenizers.lossless import TextTokenizer
from heed.models.tokenizers.protocol import LineTokenizer, PlainTokenizer
from heed.transformer.data.batching.masking import N_SPECIAL
from heed.transformer.data.batching.token_cache import TextRecord
from heed.transformer.data.shortlist import Shortlist
from heed.transformer.data.text.documents import Document, load_documents, write_documents
from heed.transformer.data.text.parallel_text import ParallelText, read_validation, write_validation
from heed.transformer.model import Transformer
from heed.transformer.training.runs import checkpoint
from heed.transformer.training.runs.checkpoint import Progress, Weights
from heed.transformer.training.runs.creation import INITIAL, created, take_text
from heed.transformer.training.runs.import_record import ImportRecord
from heed.transformer.training.runs.settings import (
    DenoisingConfig,
    MaskedConfig,
    TextConfig,
    TrainConfig,
    TranslationConfig,
)
from heed.transformer.training.runs.tokenizers import (
    read_text_tokenizer,
    read_tokenizers,
    restorable,
    write_tokenizers,
)

AVERAGE = "average"  # the average of the last checkpoints
CONTEXT = 512  # tokens of a row of training text, where the network itself knows no limit
LONGEST = 2048  # the same, of an imported network, which may read more than any batch has room for


Train = TypeVar("Train", TranslationConfig, TextConfig)


class Run(ABC, Generic[Train]):
    """The directory of a training run.

    Files: config.toml (all settings), one or two tokenizers, the validation text, checkpoints/, log.jsonl and
    tensorboard/.
    """

    task: ClassVar[str]  # what the network is trained for
    settings: ClassVar[type[TrainConfig]]  # of its training
    path: Path
    spec: NetworkSpec
    train: Train
    imported: ImportRecord | None  # of the imported model that it began with

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open the directory of a run of this kind.

        Raises:
            ModelError: See `open_run`; or the run is of another task.
        """
        run = open_run(path)
        if not isinstance(run, cls):
            raise ModelError(f"{path}: a run that learns to {run.task}, where one that learns to {cls.task} is needed")
        return run

    @classmethod
    @abstractmethod
    def read(cls, path: Path, spec: NetworkSpec, train: Train) -> Self:
        """Read what a run's directory has beside config.toml."""

    @property
    @abstractmethod
    def tokenizers(self) -> tuple[Any, Any]:
        """The tokenizers of source and target; of a language model twice the same."""

    def copy_tokenizers(self, directory: Path) -> None:
        """Copy the files of the tokenizers."""
        conventions = self.imported.conventions if self.imported else None
        for name in file_names(self.path, conventions):
            shutil.copyfile(self.path / name, directory / name)

    def new_network(self) -> Transformer:
        """The network with initial weights."""
        return Transformer(self.spec)

    def load_network(self, path: Path) -> Transformer:
        """The network with the weights of a checkpoint, for inference."""
        network = self.new_network()
        checkpoint.load_weights(path, network)
        return network.eval()

    def limit(self, limits: Mapping[str, object]) -> None:
        """Replace the limits of the run."""
        kept = {name: value for name, value in to_table(self.train).items() if name not in LIMITS}
        self.train = from_table(type(self.train), kept | dict(limits), str(self.path))

    def record_limits(self) -> None:
        """Write the limits to config.toml."""
        file = self.path / "config.toml"
        table = tomllib.loads(file.read_text("utf-8")) | {"train": to_table(self.train)}
        write_whole(file, tomli_w.dumps(table).encode())

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Lock the run against other processes; delete what a killed process left unfinished.

        Raises:
            HeedError: Another process is training it.
        """
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise HeedError(f"{self.path}: another heed train is using it; wait for it, or stop it") from None
            for leftover in (self.path / "checkpoints").glob(".*"):
                shutil.rmtree(leftover)
            yield
        finally:
            os.close(descriptor)

    @property
    def initial_path(self) -> Path:
        """The path of the initial weights of a warm start."""
        return self.path / INITIAL

    def checkpoint_path(self, step: int) -> Path:
        """The path of the checkpoint of a step."""
        return self.path / "checkpoints" / f"step-{step:08d}"

    @property
    def average_path(self) -> Path:
        """The path of the average of the last checkpoints."""
        return self.path / "checkpoints" / AVERAGE

    def steps(self) -> list[Path]:
        """The steps of checkpoints that training can continue from, the oldest first."""
        return sorted((self.path / "checkpoints").glob("step-*"))

    def ranked(self) -> list[Path]:
        """All checkpoints, including the average, best first; see `TrainConfig.best_by`."""
        found = [*self.steps(), *(self.path / "checkpoints").glob(AVERAGE)]
        rated = {path: checkpoint.load_progress(path) for path in found}
        return sorted(found, key=lambda path: _worth(rated[path], self.train.best_by), reverse=True)

    def best(self) -> tuple[Path, Progress]:
        """The best checkpoint.

        Raises:
            HeedError: The run has no checkpoint yet.
        """
        ranked = self.ranked()
        if not ranked:
            raise HeedError(f"{self.path}: no checkpoint yet; continue with: heed train --resume {self.path}")
        return ranked[0], checkpoint.load_progress(ranked[0])


class TranslationRun(Run[TranslationConfig]):
    """A translation run.

    Its files beside those of any run: tokenizer.model (or tokenizer.src.model and tokenizer.tgt.model), valid.jsonl
    (the pairs it is judged by), shortlist.safetensors (the words that each source word needs).
    """

    task = "translate"
    settings = TranslationConfig

    def __init__(
        self,
        path: Path,
        spec: NetworkSpec,
        train: TranslationConfig,
        tokenizers: tuple[LineTokenizer, LineTokenizer],
        imported: ImportRecord | None = None,
    ) -> None:
        self.path, self.spec, self.train, self.imported = path, spec, train, imported
        self.src_tokenizer, self.tgt_tokenizer = tokenizers

    @property
    def tokenizers(self) -> tuple[LineTokenizer, LineTokenizer]:
        """See `Run`."""
        return self.src_tokenizer, self.tgt_tokenizer

    @classmethod
    def read(cls, path: Path, spec: NetworkSpec, train: TranslationConfig) -> "TranslationRun":
        """See `Run`."""
        imported = ImportRecord.read(path)
        return cls(path, spec, train, read_tokenizers(path, spec, train, imported), imported)

    @classmethod
    def create(
        cls,
        path: Path,
        spec: NetworkSpec,
        train: TranslationConfig,
        tokenizer_files: Mapping[str, bytes],
        validation: ParallelText,
        shortlist: Shortlist | None = None,
        initial: Weights | None = None,
        *,
        imported: ImportRecord | None = None,
        text: TextRecord | None = None,
        cache: Path | None = None,
    ) -> "TranslationRun":
        """Create the directory of a new run.

        Args:
            path: The run's directory.
            spec: The network.
            train: The training settings.
            tokenizer_files: The files of the tokenizers by name.
            validation: The validation pairs.
            shortlist: The words that each source word needs.
            initial: Weights to begin with; None: fresh ones.
            imported: What to keep of an imported model; None: the network is heed's own.
            text: What it learns from.
            cache: A directory beside `path` that becomes the run's cache.

        Raises:
            HeedError: `path` exists.
        """
        with created(path, cls.task, spec, train, initial) as aside:
            take_text(aside, text, cache)
            write_tokenizers(aside, tokenizer_files, imported)
            write_validation(aside, validation)
            if shortlist:
                shortlist.save(aside)
        return cls.read(path, spec, train)

    @property
    def validation(self) -> ParallelText:
        """The validation pairs."""
        with restorable():
            return read_validation(self.path)


class DenoisingRun(TranslationRun):
    """A run that learns to restore text: the beginning of another that translates."""

    task = "denoise"
    settings = DenoisingConfig


class TextRun(Run[TextConfig]):
    """A run that learns to continue a text.

    Files besides those of any run: tokenizer.model and valid.jsonl (validation documents).
    """

    task = "generate"
    settings = TextConfig

    def __init__(
        self,
        path: Path,
        spec: NetworkSpec,
        train: TextConfig,
        tokenizer: PlainTokenizer,
        imported: ImportRecord | None = None,
    ) -> None:
        self.path, self.spec, self.train, self.tokenizer, self.imported = path, spec, train, tokenizer, imported

    @property
    def tokenizers(self) -> tuple[PlainTokenizer, PlainTokenizer]:
        """See `Run`."""
        return self.tokenizer, self.tokenizer

    @classmethod
    def read(cls, path: Path, spec: NetworkSpec, train: TextConfig) -> "TextRun":
        """See `Run`."""
        imported = ImportRecord.read(path)
        return cls(path, spec, train, read_text_tokenizer(path, spec, imported), imported)

    @property
    def context(self) -> int:
        """Tokens of a row of training text."""
        return min(row_length(self.spec), LONGEST) if self.imported else row_length(self.spec)

    @classmethod
    def create(
        cls,
        path: Path,
        spec: NetworkSpec,
        train: TextConfig,
        tokenizer_files: Mapping[str, bytes],
        validation: Sequence[Document],
        initial: Weights | None = None,
        *,
        imported: ImportRecord | None = None,
        text: TextRecord | None = None,
        cache: Path | None = None,
    ) -> "TextRun":
        """Create the directory of a new run; see `TranslationRun.create`.

        Raises:
            HeedError: `path` exists.
        """
        with created(path, cls.task, spec, train, initial) as aside:
            take_text(aside, text, cache)
            write_tokenizers(aside, tokenizer_files, imported)
            write_documents(aside / "valid.jsonl", validation)
        return cls.read(path, spec, train)

    @property
    def validation(self) -> list[Document]:
        """The validation documents."""
        with restorable():
            return load_documents(self.path / "valid.jsonl")


def row_length(spec: NetworkSpec) -> int:
    """Tokens of a row of text that a network is trained on: as many as it can read at a time."""
    return spec.last.n_positions or CONTEXT


class MaskedRun(TextRun):
    """A run that learns to fill masks in a text."""

    task = "fill"
    settings = MaskedConfig
    tokenizer: TextTokenizer

    @property
    def context(self) -> int:
        """Tokens of a row of training text, without the special ones around it."""
        return row_length(self.spec) - N_SPECIAL


RUNS: Mapping[str, type[TranslationRun] | type[TextRun]] = {
    run.task: run for run in (TranslationRun, DenoisingRun, TextRun, MaskedRun)
}


def open_run(path: Path) -> TranslationRun | TextRun:
    """Open the directory of a run.

    Raises:
        ModelError: It is not a run, is damaged, or was made by a later heed.
    """
    file = config_file(path)
    task, network, train = read_settings(file)
    kind: Any = RUNS[task]
    run: TranslationRun | TextRun = kind.read(
        path, network_spec(network, f"{file}, network"), from_table(kind.settings, train, f"{file}, train")
    )
    return run


def read_settings(file: Path) -> tuple[str, dict[str, object], dict[str, object]]:
    """What a run's config.toml trains a network for, and all settings of the network and of its training.

    Raises:
        ModelError: It is damaged, or was made by a later heed.
        OSError: It cannot be read.
    """
    config = read_config(file)
    new = {} if config.is_complete else _earlier_settings(RUNS[config.task].settings)
    return config.task, config.network, new | config.train


def _earlier_settings(settings: type[TrainConfig]) -> dict[str, object]:
    """What runs of earlier formats do not say; both sides of their vocabularies were normalized in one way."""
    found = defaults(settings)
    return found | {name: "nfkc" for name in found if name.endswith("_normalization")}


def _worth(progress: Progress, best_by: str) -> tuple[float, float]:
    bleu = -1.0 if progress.bleu is None or best_by == "loss" else progress.bleu
    return bleu, -float("inf") if progress.loss is None else -progress.loss
