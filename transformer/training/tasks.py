"""Training tasks: a record for each, from text to batches."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from heed.models.spec.network import NetworkSpec
from heed.models.tokenizers.lossless import MASK
from heed.transformer.data.batching.batches import Batches
from heed.transformer.data.batching.masking import MaskedPacking
from heed.transformer.data.batching.noise import PIECES
from heed.transformer.data.batching.packing import Packing
from heed.transformer.data.preparation import text_run, translation_run
from heed.transformer.data.text.lines import FORMATS
from heed.transformer.training.objectives.objectives import masked, noise_of
from heed.transformer.training.runs.run import DenoisingRun, MaskedRun, Run, TextRun, TranslationRun, row_length
from heed.transformer.training.runs.settings import DenoisingConfig, TextConfig, TranslationConfig

COMPRESSION = 3.0  # approximate compression ratio of .gz and .zst
SENTENCE = 25  # approximate tokens per side of a pair

AnyRun = Run[Any]
AnyBatches = Batches | Packing | MaskedPacking


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainTask:
    """What `heed train` needs to know about a task."""

    create: Callable[
        ..., tuple[AnyRun, AnyBatches]
    ]  # creates a run, from its path, network, settings and initial network
    resume: Callable[[Any, int | None], AnyBatches]  # the batches of a resumed run, prepared with this many threads
    n_bytes: Callable[[Any], float]  # bytes of an epoch's text per side, from the run's settings
    row_length: Callable[[NetworkSpec], int]  # approximate tokens per row
    begins_with: tuple[str, ...]  # tasks whose networks it may begin with
    trains_imported: bool = False  # whether it trains imported networks further
    next_step: str = "Export it with: heed export {run} -o MODEL"  # what to do with a run that is done

    def may_begin_with(self, task: str, *, imported: bool) -> bool:
        """Whether training may begin with a network of a task, which may be imported."""
        return task in self.begins_with and (self.trains_imported or not imported)


def _create_translation(path: Path, *arguments: Any, **keywords: Any) -> tuple[TranslationRun, Batches]:
    run, corpora = translation_run.new_run(path, *arguments, **keywords)
    return run, translation_run.batches(run, corpora)


def _resume_translation(run: TranslationRun, threads: int | None) -> Batches:
    return translation_run.batches(run, translation_run.load_corpus(run, threads))


def _create_denoising(path: Path, *arguments: Any, **keywords: Any) -> tuple[TranslationRun, Batches]:
    config: DenoisingConfig = arguments[1]
    control = PIECES[config.noise]
    run, corpora = translation_run.new_run(path, *arguments, **keywords, kind=DenoisingRun, control=control)
    return run, translation_run.batches(run, corpora, noise_of(run))


def _resume_denoising(run: TranslationRun, threads: int | None) -> Batches:
    return translation_run.batches(run, translation_run.load_corpus(run, threads), noise_of(run))


def _create_masked(path: Path, *arguments: Any, **keywords: Any) -> tuple[TextRun, MaskedPacking]:
    keywords |= {"kind": MaskedRun, "control": (MASK,)}
    run, rows = text_run.new_text_run(path, *arguments, **keywords)
    return run, masked(run, rows)


def _resume_masked(run: TextRun, threads: int | None) -> MaskedPacking:
    return masked(run, text_run.load_text(run, threads))


def _pair_bytes(config: TranslationConfig) -> float:
    return sum(source.weight * _size(source.paths) / 2 for source in translation_run.sources_of(config))


def _text_bytes(config: TextConfig) -> float:
    return _size((*config.text, *config.pairs))


def _size(paths: Iterable[str]) -> float:
    """Approximate bytes of the text in files."""
    files = [Path(path) for path in paths]
    return sum(file.stat().st_size * (COMPRESSION if file.suffix in FORMATS else 1) for file in files)


TASKS: Mapping[str, TrainTask] = {
    TranslationRun.task: TrainTask(
        create=_create_translation,
        resume=_resume_translation,
        n_bytes=_pair_bytes,
        row_length=lambda _: SENTENCE,
        begins_with=("translate", "denoise"),
        trains_imported=True,
    ),
    DenoisingRun.task: TrainTask(
        create=_create_denoising,
        resume=_resume_denoising,
        n_bytes=_pair_bytes,
        row_length=lambda _: SENTENCE,
        begins_with=("translate", "denoise"),
        next_step="Train on pairs with: heed train --init-from {run} --src FILE --tgt FILE -o RUN",
    ),
    TextRun.task: TrainTask(
        create=text_run.new_text_run,
        resume=text_run.load_text,
        n_bytes=_text_bytes,
        row_length=row_length,
        begins_with=("generate",),
        trains_imported=True,
    ),
    MaskedRun.task: TrainTask(
        create=_create_masked,
        resume=_resume_masked,
        n_bytes=_text_bytes,
        row_length=row_length,
        begins_with=("fill",),
    ),
}
