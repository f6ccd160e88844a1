"""Columns of tables, batch by batch: for Ray Data's `map_batches`, Spark's `mapInPandas`, and pandas.

An object here is small and is pickled without a model. Each process loads the model once, whichever batches it gets.
"""

import abc
import functools
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from heed.models.bundle.catalog import find
from heed.models.decoding.config import DecodeConfig
from heed.models.decoding.sampling import SampleConfig
from heed.models.errors import DataError
from heed.models.records import record
from heed.models.tasks.generator import Generator
from heed.models.tasks.translation.translator import Translator

GREEDY = SampleConfig(temperature=0.0)


@record(frozen=True, kw_only=True)
class TextColumn(abc.ABC):
    """Makes a column of texts from another."""

    model: str | None = None  # directory or name, on every machine; None: the one that comes with heed
    column: str = "text"  # that is read; where it is null, so is the result
    into: str  # that is added or replaced
    device: str = "cpu"
    threads: int = 1  # of each process

    @abc.abstractmethod
    def texts(self, texts: Sequence[str]) -> list[str]:
        """The results of some texts, in order."""

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Add the column to a batch of columns, as Ray Data gives it.

        Raises:
            DataError: The column is missing, or has something that is no text.
            ModelError: The model cannot be used.
        """
        if self.column not in batch:
            raise DataError(f"no column {self.column!r}, only {', '.join(map(repr, batch))}; name another one")
        return {**batch, self.into: np.array(self._made(batch[self.column]), dtype=object)}

    def frames(self, frames: Iterable[Any]) -> Iterator[Any]:
        """Add the column to frames of pandas; Spark's `mapInPandas` takes this method.

        Raises:
            DataError: The column is missing, or has something that is no text.
            ModelError: The model cannot be used.
        """
        for frame in frames:
            yield frame.assign(**{self.into: self({self.column: frame[self.column]})[self.into]})

    def _made(self, cells: Iterable[Any]) -> list[str | None]:
        values = [None if cell is None or cell != cell else cell for cell in cells]  # NaN is null, too
        wrong = [value for value in values if not isinstance(value, str | None)]
        if wrong:
            raise DataError(f"the column {self.column!r} has {wrong[0]!r}, which is no text; convert it first")
        results = iter(self.texts([value for value in values if value is not None]))
        return [None if value is None else next(results) for value in values]


@record(frozen=True, kw_only=True)
class TranslatedColumn(TextColumn):
    """Translates a column."""

    into: str = "translation"
    config: DecodeConfig | None = None  # None: the model's
    batch_size: int = 64  # sentences decoded together

    def texts(self, texts: Sequence[str]) -> list[str]:
        """The translations of some texts, in order."""
        found = _translator(self.model, self.device, self.threads)
        return [each.text for each in found.translate(texts, self.config, batch_size=self.batch_size)]


@record(frozen=True, kw_only=True)
class ContinuedColumn(TextColumn):
    """Continues the prompts of a column; equal prompts draw equal numbers, in whichever batch they are."""

    into: str = "completion"
    config: SampleConfig = GREEDY  # one that samples needs a seed

    def __post_init__(self) -> None:
        if self.config.temperature and self.config.seed is None:
            raise DataError("the config samples without a seed, and each process would draw its own; give it a seed")

    def texts(self, texts: Sequence[str]) -> list[str]:
        """The continuations of some prompts, in order."""
        generator = _generator(self.model, self.device, self.threads)
        numbers = [zlib.crc32(text.encode()) for text in texts]
        return [samples[0].text for samples in generator.generate(texts, self.config, truncate=True, numbers=numbers)]


# A task of Spark brings the object anew, and its process lives on: the last model stays loaded.


@functools.lru_cache(maxsize=1)
def _translator(model: str | None, device: str, threads: int) -> Translator:
    return Translator.load(find(model), device=device, threads=threads)


@functools.lru_cache(maxsize=1)
def _generator(model: str | None, device: str, threads: int) -> Generator:
    return Generator.load(find(model, "generate"), device=device, threads=threads)
