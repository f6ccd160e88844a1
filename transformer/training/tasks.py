"""What a network can be trained for: a record for each task, from its text to its batches."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from heed.models.spec.network import NetworkSpec
from heed.transformer.data import preparation, text_preparation
from heed.transformer.data.batching.batches import Batches
from heed.transformer.data.batching.packing import Packing
from heed.transformer.data.lines import FORMATS
from heed.transformer.training.runs.run import Run, TextRun, TranslationRun, row_length
from heed.transformer.training.runs.settings import TextConfig, TranslationConfig

COMPRESSION = 3.0  # of .gz and .zst, about
SENTENCE = 25  # tokens of a pair's side, about

AnyRun = Run[Any]
AnyBatches = Batches | Packing


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task:
    """What `heed train` needs to know of a task."""

    create: Callable[..., tuple[AnyRun, AnyBatches]]  # a new run: its path, network, settings and initial network
    resume: Callable[[Any, int | None], AnyBatches]  # the batches of a run, made by so many threads
    n_bytes: Callable[[Any], float]  # of an epoch's text, a side, by the run's settings
    row_length: Callable[[NetworkSpec], int]  # tokens of a row, about


def _create_translation(path: Path, *arguments: Any, **keywords: Any) -> tuple[TranslationRun, Batches]:
    run, corpora = preparation.new_run(path, *arguments, **keywords)
    return run, preparation.batches(run, corpora)


def _resume_translation(run: TranslationRun, threads: int | None) -> Batches:
    return preparation.batches(run, preparation.load_corpus(run, threads))


def _pair_bytes(config: TranslationConfig) -> float:
    return sum(source.weight * _size(source.paths) / 2 for source in preparation.sources_of(config))


def _text_bytes(config: TextConfig) -> float:
    return _size((*config.text, *config.pairs))


def _size(paths: Iterable[str]) -> float:
    """Bytes of the text of files."""
    files = [Path(path) for path in paths]
    return sum(file.stat().st_size * (COMPRESSION if file.suffix in FORMATS else 1) for file in files)


TASKS: Mapping[str, Task] = {
    TranslationRun.task: Task(
        create=_create_translation,
        resume=_resume_translation,
        n_bytes=_pair_bytes,
        row_length=lambda _: SENTENCE,
    ),
    TextRun.task: Task(
        create=text_preparation.new_text_run,
        resume=text_preparation.load_text,
        n_bytes=_text_bytes,
        row_length=row_length,
    ),
}
