"""A training run on disk: what was asked, the tokenizers, the held-out text, the checkpoints."""

import fcntl
import importlib.metadata
import os
import shutil
import tomllib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar, Generic, Self, TypeVar

import tomli_w
from torch import nn

from heed.models.spec.config import LanguageModelConfig, ModelConfig, defaults, from_table, to_table
from heed.models.errors import HeedError, ModelError
from heed.models.system.files import directory_whole, write_whole
from heed.models.runs.settings import FORMAT, KINDS, LIMITS, config_file, read_config
from heed.models.tokenizers.lossless import TextTokenizer
from heed.models.tokenizers.subwords import Tokenizer, load_tokenizers, write_tokenizers
from heed.transformer.training.runs import checkpoint
from heed.transformer.data.batching.token_cache import OWN, TextRecord
from heed.transformer.training.runs.checkpoint import Progress, Weights
from heed.transformer.training.runs.settings import TextConfig, TranslationConfig
from heed.transformer.data.parallel_text import ParallelText, read_validation, write_validation
from heed.transformer.data.documents import Document, load_documents, write_documents
from heed.transformer.language_model import LanguageModel
from heed.transformer.model import Transformer
from heed.transformer.data.shortlist import Shortlist

INITIAL = "initial"  # the weights that training begins with, if they are not fresh
AVERAGE = "average"  # the checkpoint that is the mean of the last ones


Model = TypeVar("Model", ModelConfig, LanguageModelConfig)
Train = TypeVar("Train", TranslationConfig, TextConfig)


class Run(ABC, Generic[Model, Train]):
    """A directory that holds a training run.

    Its files: config.toml (all that was asked), the tokenizer or two, the text it is judged by, checkpoints/, log.jsonl
    and tensorboard/.
    """

    kind: ClassVar[str]  # of the network
    path: Path
    model: Model
    train: Train

    @classmethod
    def open(cls, path: Path) -> Self:
        """Read the directory of a run of this kind.

        Raises:
            ModelError: See `open_run`; or the run is of another kind.
        """
        run = open_run(path)
        if not isinstance(run, cls):
            raise ModelError(f"{path}: a run of kind {run.kind}, where one of kind {cls.kind} is needed")
        return run

    @abstractmethod
    def new_network(self) -> nn.Module:
        """The network with fresh weights."""

    @abstractmethod
    def load_network(self, path: Path) -> nn.Module:
        """The network with the weights of a checkpoint, for use and not for training."""

    def limit(self, limits: Mapping[str, object]) -> None:
        """Let the run end by other limits than it was made with."""
        kept = {name: value for name, value in to_table(self.train).items() if name not in LIMITS}
        self.train = from_table(type(self.train), kept | dict(limits), str(self.path))

    def record_limits(self) -> None:
        """Let config.toml say by which limits it ends."""
        file = self.path / "config.toml"
        table = tomllib.loads(file.read_text("utf-8")) | {"train": to_table(self.train)}
        write_whole(file, tomli_w.dumps(table).encode())

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Let no other process train this run meanwhile; what a killed one left half done is deleted.

        Raises:
            HeedError: Another one does.
        """
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise HeedError(
                    f"{self.path}: another heed train is at work on it; wait for its end, or stop it"
                ) from None
            for leftover in (self.path / "checkpoints").glob(".*"):
                shutil.rmtree(leftover)
            yield
        finally:
            os.close(descriptor)

    @property
    def initial_path(self) -> Path:
        """Where the weights stand that training begins with, if they are not fresh."""
        return self.path / INITIAL

    def checkpoint_path(self, step: int) -> Path:
        """Where the checkpoint of a step stands."""
        return self.path / "checkpoints" / f"step-{step:08d}"

    @property
    def average_path(self) -> Path:
        """Where the mean of the last checkpoints stands."""
        return self.path / "checkpoints" / AVERAGE

    def steps(self) -> list[Path]:
        """The checkpoints that training can go on from, the oldest first."""
        return sorted((self.path / "checkpoints").glob("step-*"))

    def ranked(self) -> list[Path]:
        """All checkpoints, the mean of the last ones among them, the best first; see `TrainConfig.best_by`."""
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
            raise HeedError(f"{self.path}: no checkpoint yet; go on with: heed train --resume {self.path}")
        return ranked[0], checkpoint.load_progress(ranked[0])


class TranslationRun(Run[ModelConfig, TranslationConfig]):
    """A run that learns to translate.

    Its files beside those of any run: tokenizer.model (or tokenizer.src.model and tokenizer.tgt.model), valid.jsonl
    (the pairs it is judged by), shortlist.safetensors (the words that each source word needs).
    """

    kind = KINDS[0]

    def __init__(
        self, path: Path, model: ModelConfig, train: TranslationConfig, tokenizers: tuple[Tokenizer, Tokenizer]
    ) -> None:
        self.path, self.model, self.train = path, model, train
        self.src_tokenizer, self.tgt_tokenizer = tokenizers

    @classmethod
    def create(
        cls,
        path: Path,
        model: ModelConfig,
        train: TranslationConfig,
        tokenizers: tuple[Tokenizer, Tokenizer],
        validation: ParallelText,
        shortlist: Shortlist | None = None,
        initial: Weights | None = None,
        *,
        text: TextRecord | None = None,
        cache: Path | None = None,
    ) -> "TranslationRun":
        """Make the directory of a new run.

        Args:
            path: It.
            model: The sizes of the network.
            train: What was asked.
            tokenizers: Of the source and of the target.
            validation: The pairs that it is judged by.
            shortlist: The words that each source word needs.
            initial: Weights to begin with; None: fresh ones.
            text: What it learns from.
            cache: A directory beside `path` that becomes the run's cache.

        Raises:
            HeedError: `path` exists.
        """
        with _created(path, cls.kind, model, train, initial) as aside:
            _take_text(aside, text, cache)
            write_tokenizers(aside, tokenizers)
            write_validation(aside, validation)
            if shortlist:
                shortlist.save(aside)
        return cls(path, model, train, tokenizers)

    @property
    def validation(self) -> ParallelText:
        """The pairs that the run is judged by."""
        with _restorable():
            return read_validation(self.path)

    def new_network(self) -> Transformer:
        """The network with fresh weights."""
        return Transformer(self.model)

    def load_network(self, path: Path) -> Transformer:
        """The network with the weights of a checkpoint, for use and not for training."""
        network = self.new_network()
        checkpoint.load_weights(path, network)
        return network.eval()


class TextRun(Run[LanguageModelConfig, TextConfig]):
    """A run that learns to go on with a text.

    Its files beside those of any run: tokenizer.model and valid.jsonl (the documents it is judged by).
    """

    kind = KINDS[1]

    def __init__(self, path: Path, model: LanguageModelConfig, train: TextConfig, tokenizer: TextTokenizer) -> None:
        self.path, self.model, self.train, self.tokenizer = path, model, train, tokenizer

    @classmethod
    def create(
        cls,
        path: Path,
        model: LanguageModelConfig,
        train: TextConfig,
        tokenizer: TextTokenizer,
        validation: Sequence[Document],
        initial: Weights | None = None,
        *,
        text: TextRecord | None = None,
        cache: Path | None = None,
    ) -> "TextRun":
        """Make the directory of a new run; see `TranslationRun.create`.

        Raises:
            HeedError: `path` exists.
        """
        with _created(path, cls.kind, model, train, initial) as aside:
            _take_text(aside, text, cache)
            write_tokenizers(aside, (tokenizer.pieces, tokenizer.pieces))
            write_documents(aside / "valid.jsonl", validation)
        return cls(path, model, train, tokenizer)

    @property
    def validation(self) -> list[Document]:
        """The documents that the run is judged by."""
        with _restorable():
            return load_documents(self.path / "valid.jsonl")

    def new_network(self) -> LanguageModel:
        """The network with fresh weights."""
        return LanguageModel(self.model)

    def load_network(self, path: Path) -> LanguageModel:
        """The network with the weights of a checkpoint, for use and not for training."""
        network = self.new_network()
        checkpoint.load_weights(path, network)
        return network.eval()


@contextmanager
def _created(
    path: Path,
    kind: str,
    model: ModelConfig | LanguageModelConfig,
    train: TranslationConfig | TextConfig,
    initial: Weights | None,
) -> Iterator[Path]:
    """The directory of a new run, to be filled aside."""
    config = {
        "format": FORMAT,
        "heed": importlib.metadata.version("heed"),
        "kind": kind,
        "model": to_table(model),
        "train": to_table(train),
    }
    with directory_whole(path) as aside:
        (aside / "config.toml").write_text(tomli_w.dumps(config), "utf-8")
        (aside / "checkpoints").mkdir()
        if initial is not None:
            checkpoint.write_weights(aside / INITIAL, initial)
        yield aside


def _take_text(aside: Path, text: TextRecord | None, cache: Path | None) -> None:
    if text:
        text.write(aside)
    if cache:
        cache.rename(aside / OWN)


@contextmanager
def _restorable() -> Iterator[None]:
    """Say what to do about a file of a run that cannot be read."""
    try:
        yield
    except OSError as error:
        raise ModelError(f"{error.filename}: {error.strerror}; restore it, or train again") from None


def open_run(path: Path) -> TranslationRun | TextRun:
    """Read the directory of a run.

    Raises:
        ModelError: It is no run, is damaged, or was made by a later heed.
    """
    file = config_file(path)
    kind, model, train = read_settings(file)
    if kind == TextRun.kind:
        return TextRun(
            path,
            from_table(LanguageModelConfig, model, str(file)),
            from_table(TextConfig, train, str(file)),
            TextTokenizer.load(path),
        )
    return TranslationRun(
        path,
        from_table(ModelConfig, model, str(file)),
        from_table(TranslationConfig, train, str(file)),
        load_tokenizers(path),
    )


def read_settings(file: Path) -> tuple[str, dict[str, object], dict[str, object]]:
    """The kind of network in a run's config.toml, and all settings of the network and of its training.

    Raises:
        ModelError: It is damaged, or was made by a later heed.
        OSError: It cannot be read.
    """
    config = read_config(file)
    new = {} if config.is_complete else _earlier_settings(config.kind)
    return config.kind, config.model, new | config.train


def _earlier_settings(kind: str) -> dict[str, object]:
    """What runs of earlier formats do not say."""
    if kind == TextRun.kind:
        return defaults(TextConfig)
    return defaults(TranslationConfig) | {"src_normalization": "nfkc", "tgt_normalization": "nfkc"}


def _worth(progress: Progress, best_by: str) -> tuple[float, float]:
    bleu = -1.0 if progress.bleu is None or best_by == "loss" else progress.bleu
    return bleu, -float("inf") if progress.loss is None else -progress.loss
