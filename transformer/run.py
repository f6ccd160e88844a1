"""A training run on disk: what was asked, the tokenizers, the held-out text, the checkpoints."""

import importlib.metadata
import tomllib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar, Generic, Self, TypeVar

import tomli_w
from torch import nn

from heed.models.config import LanguageModelConfig, ModelConfig, from_table, to_table
from heed.models.errors import HeedError, ModelError
from heed.models.files import directory_whole
from heed.models.text_tokenizer import TextTokenizer
from heed.models.tokenizer import Tokenizer, load_tokenizers, write_tokenizers
from heed.transformer import checkpoint
from heed.transformer.cache import OWN, TextRecord
from heed.transformer.checkpoint import Progress, Weights
from heed.transformer.config import TextConfig, TranslationConfig
from heed.transformer.corpus import ParallelText, read_validation, write_validation
from heed.transformer.documents import Document, load_documents, write_documents
from heed.transformer.language_model import LanguageModel
from heed.transformer.model import Transformer
from heed.transformer.shortlist import Shortlist

FORMAT = 1  # of the directory; a later one is refused
INITIAL = "initial"  # the weights that training begins with, if they are not fresh
KINDS = ("encoder-decoder", "decoder")
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

    def best(self) -> tuple[Path, Progress]:
        """The checkpoint with the highest validation BLEU; of equals the one with the lowest loss.

        Raises:
            HeedError: The run has no checkpoint yet.
        """
        found = [*self.steps(), *(self.path / "checkpoints").glob(AVERAGE)]
        if not found:
            raise HeedError(f"{self.path}: no checkpoint yet; go on with: heed train --resume {self.path}")
        rated = [(path, checkpoint.load_progress(path)) for path in found]
        return max(rated, key=lambda item: _worth(item[1]))


class TranslationRun(Run[ModelConfig, TranslationConfig]):
    """A run that learns to translate.

    Its files beside those of any run: tokenizer.model (or tokenizer.src.model and tokenizer.tgt.model), valid.src and
    valid.tgt (the pairs it is judged by), shortlist.safetensors (the words that each source word needs).
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
    file = path / "config.toml"
    if not file.is_file():
        raise ModelError(f"{path}: no run of heed train (there is no config.toml); name the directory given to -o")
    kind, model, train = read_config(file)
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


def read_config(file: Path) -> tuple[str, dict[str, object], dict[str, object]]:
    """The kind of network in a run's config.toml, and its tables `model` and `train`.

    Raises:
        ModelError: It is damaged, or was made by a later heed.
        OSError: It cannot be read.
    """
    try:
        config = tomllib.loads(file.read_text("utf-8"))
    except ValueError as error:
        raise ModelError(f"{file}: damaged ({error}); restore it, or train again") from None
    found = config.get("format")
    if found != FORMAT:
        raise ModelError(f"{file}: format {found!r}, and this heed reads {FORMAT}; use the heed that made it")
    missing = [name for name in ("model", "train") if not isinstance(config.get(name), dict)]
    if missing:
        raise ModelError(f"{file}: damaged (no table {' and no '.join(missing)}); restore it, or train again")
    kind = config.get("kind", KINDS[0])  # of runs from before there were two, the first
    if kind not in KINDS:
        raise ModelError(f"{file}: kind {kind!r}, and this heed trains {' or '.join(KINDS)}; use the heed that made it")
    return kind, config["model"], config["train"]


def _worth(progress: Progress) -> tuple[float, float]:
    bleu = -1.0 if progress.bleu is None else progress.bleu
    return bleu, -float("inf") if progress.loss is None else -progress.loss
