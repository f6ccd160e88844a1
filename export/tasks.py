"""Export tasks: a record for each."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from heed.models.tasks.scorer import ScoringInput
from heed.transformer.training.runs.run import MaskedRun, TextRun, TranslationRun

SENTENCES, LONGEST = 200, 512  # pairs of a comparison, and maximum tokens per side


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportTask:
    """What an export needs to know about a task."""

    passages: Callable[[Any, int], list[ScoringInput]]  # first passages of a run's validation text
    n_passages: int  # number of passages to compare
    n_bytes: Callable[[Any, list[ScoringInput]], int | None]  # bytes that count, for bits per byte; None: not computed
    options: tuple[str, ...]  # options of `heed export` that only this task has


def _pairs(run: TranslationRun, n: int) -> list[ScoringInput]:
    """The first pairs of the validation text, truncated if too long."""
    src, tgt, text, end = run.src_tokenizer, run.tgt_tokenizer, run.validation, _longest(run)
    encoded, forced = zip(src.encode(text.src[:n]), tgt.encode(text.tgt[:n]), strict=True), list(tgt.forced)
    return [
        ScoringInput(forced, [*target[len(forced) : end], tgt.eos_id], [*source[:end], src.eos_id])
        for source, target in encoded
    ]


def _longest(run: TranslationRun) -> int:
    """Maximum tokens per side, without the end token."""
    fit = [stack.n_positions for stack in run.spec.stacks.values() if stack.n_positions is not None]
    return min([LONGEST, *(n - 1 for n in fit)])


def _texts(run: TextRun, n: int) -> list[ScoringInput]:
    """The first texts of the validation documents, at most as long as the context; prompts are given tokens."""
    tokenizer, context, found = run.tokenizer, run.context, list[ScoringInput]()
    for document in run.validation:
        prompt = tokenizer.encode(document.prompt)
        tokens = [*prompt, *tokenizer.encode(document.text), tokenizer.eos_id]
        for start in range(0, len(tokens), context):
            piece, n_given = tokens[start : start + context], min(max(len(prompt) - start, 0), context)
            found.append(ScoringInput(piece[:n_given], piece[n_given:]))
        if len(found) >= n:
            break
    return found[:n]


def _text_bytes(run: TextRun, passages: list[ScoringInput]) -> int:
    return sum(len(run.tokenizer.token_bytes(passage.tokens)) for passage in passages)


TASKS: Mapping[str, ExportTask] = {
    TranslationRun.task: ExportTask(
        passages=_pairs,
        n_passages=SENTENCES,
        n_bytes=lambda *_: None,
        options=("test_src", "test_tgt"),
    ),
    TextRun.task: ExportTask(
        passages=_texts,
        n_passages=100,
        n_bytes=_text_bytes,
        options=("chat_template",),
    ),
    MaskedRun.task: ExportTask(
        passages=_texts,
        n_passages=100,
        n_bytes=lambda *_: None,
        options=(),
    ),
}
