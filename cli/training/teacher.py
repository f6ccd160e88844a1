"""The text of a student: what `heed train --teacher` translates before training."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from heed.cli import messages
from heed.cli.io.line_progress import LineProgress
from heed.cli.training.new_run import OF_TEXT, RunRequest

if TYPE_CHECKING:
    from heed.transformer.data.distillation import Teacher

OPTIONS = ("teacher", "teacher_choice", "teacher_mixed")
PAIRS = ("src", "tgt", "data", "src_field", "tgt_field", "skip_bad")  # options that name the training pairs


def teacher_of(given: dict[str, Any], threads: int | None) -> "Teacher | None":
    """The teacher that the options ask for, which are taken out of them.

    Raises:
        click.UsageError: They do not fit together.
        ModelError: There is no such model.
    """
    asked = {name: given.pop(name) for name in OPTIONS if name in given}
    if "teacher" not in asked:
        if asked:
            raise click.UsageError("--teacher-choice and --teacher-mixed need a --teacher.")
        return None
    if OF_TEXT & given.keys() or not {"src", "data"} & given.keys():
        raise click.UsageError("--teacher translates training text; give it with --src and --tgt, or --data.")
    from heed.models.bundle import catalog
    from heed.transformer.data.distillation import Teacher

    bundles = tuple(catalog.find(name, "translate").absolute() for name in asked["teacher"])
    mixed = bool(asked.get("teacher_mixed"))
    return Teacher(bundles=bundles, choice=asked.get("teacher_choice", "score"), mixed=mixed, threads=threads)


def taught(path: Path, request: RunRequest) -> RunRequest:
    """A request with the teacher's translations as training text, beside the run or in its cache.

    Raises:
        HeedError: The text or the teacher cannot be used.
    """
    if request.teacher is None:
        return request
    from heed.transformer.data.distillation import teach
    from heed.transformer.data.preparation.translation_run import sources_of
    from heed.transformer.training.runs.settings import TranslationConfig

    given = dict(request.given)
    pairs: dict[str, Any] = {name: given.pop(name) for name in PAIRS if name in given}
    directory = (request.cache or path.with_name(f"{path.name}.teacher")).absolute()
    seed = int(str(given.get("seed", request.tables()[2].get("seed", TranslationConfig.seed))))
    messages.note("The teacher translates the training text")
    with LineProgress(None, hidden=False) as progress:
        text = teach(
            sources_of(TranslationConfig(steps=1, **pairs)),
            request.teacher,
            directory,
            seed=seed,
            hold_out="valid_src" not in given,
            told=lambda n_lines: progress.add(n_lines, 0),
        )
    if text.n_bad:
        messages.warning(messages.passed_over(text.n_bad))
    given["data"] = text.data
    if text.validation:
        given["valid_src"], given["valid_tgt"] = ((file,) for file in text.validation)
    return dataclasses.replace(request, given=given, teacher=None)
