"""A training run on disk: what was asked, the tokenizers, the held-out pairs, the checkpoints."""

import importlib.metadata
import tomllib
from collections.abc import Sequence
from pathlib import Path

import tomli_w

from heed.models.config import ModelConfig, from_table, to_table
from heed.models.errors import HeedError, ModelError
from heed.models.files import directory_whole
from heed.models.tokenizer import Tokenizer, load_tokenizers, write_tokenizers
from heed.transformer import checkpoint
from heed.transformer.checkpoint import Progress
from heed.transformer.config import TrainConfig
from heed.transformer.corpus import ParallelText, read_lines
from heed.transformer.model import Transformer
from heed.transformer.shortlist import Shortlist

FORMAT = 1  # of the directory; a later one is refused
AVERAGE = "average"  # the checkpoint that is the mean of the last ones


class Run:
    """A directory that holds a training run.

    Its files: config.toml (all that was asked), tokenizer.model (or tokenizer.src.model and tokenizer.tgt.model),
    valid.src and valid.tgt (the pairs it is judged by), shortlist.safetensors (the words that each source word needs),
    checkpoints/, log.jsonl and tensorboard/.
    """

    def __init__(
        self,
        path: Path,
        model: ModelConfig,
        train: TrainConfig,
        tokenizers: tuple[Tokenizer, Tokenizer],
    ) -> None:
        self.path = path
        self.model, self.train = model, train
        self.src_tokenizer, self.tgt_tokenizer = tokenizers

    @classmethod
    def create(
        cls,
        path: Path,
        model: ModelConfig,
        train: TrainConfig,
        tokenizers: tuple[Tokenizer, Tokenizer],
        validation: ParallelText,
        shortlist: Shortlist | None = None,
    ) -> "Run":
        """Make the directory of a new run.

        Raises:
            HeedError: `path` exists.
        """
        config = {
            "format": FORMAT,
            "heed": importlib.metadata.version("heed"),
            "model": to_table(model),
            "train": to_table(train),
        }
        with directory_whole(path) as aside:
            (aside / "config.toml").write_text(tomli_w.dumps(config), "utf-8")
            write_tokenizers(aside, tokenizers)
            _write_lines(aside / "valid.src", validation.src)
            _write_lines(aside / "valid.tgt", validation.tgt)
            if shortlist:
                shortlist.save(aside)
            (aside / "checkpoints").mkdir()
        return cls(path, model, train, tokenizers)

    @classmethod
    def open(cls, path: Path) -> "Run":
        """Read the directory of a run.

        Raises:
            ModelError: It is no run, is damaged, or was made by a later heed.
        """
        file = path / "config.toml"
        if not file.is_file():
            raise ModelError(f"{path}: no run of heed train (there is no config.toml); name the directory given to -o")
        config = read_config(file)
        model = from_table(ModelConfig, config["model"], str(file))
        return cls(path, model, from_table(TrainConfig, config["train"], str(file)), load_tokenizers(path))

    @property
    def validation(self) -> ParallelText:
        """The pairs that the run is judged by."""
        try:
            return ParallelText(read_lines(self.path / "valid.src"), read_lines(self.path / "valid.tgt"))
        except OSError as error:
            raise ModelError(f"{error.filename}: {error.strerror}; restore it, or train again") from None

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

    def load_network(self, path: Path) -> Transformer:
        """The network with the weights of a checkpoint, for use and not for training."""
        network = Transformer(self.model)
        checkpoint.load_weights(path, network)
        return network.eval()


def read_config(file: Path) -> dict[str, dict[str, object]]:
    """The tables `model` and `train` of a run's config.toml.

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
    return {name: config[name] for name in ("model", "train")}


def _worth(progress: Progress) -> tuple[float, float]:
    bleu = -1.0 if progress.bleu is None else progress.bleu
    return bleu, -float("inf") if progress.loss is None else -progress.loss


def _write_lines(path: Path, lines: Sequence[str]) -> None:
    path.write_bytes("".join(line + "\n" for line in lines).encode("utf-8"))
