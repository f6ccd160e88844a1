"""What an export needs to know of a task: a record for each."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from heed.models.tasks.scorer import Passage
from heed.models.tokenizers.subwords import Tokenizer
from heed.transformer.training.runs.run import TextRun, TranslationRun

SENTENCES, LONGEST = 200, 512  # pairs of a proof, and tokens of a side


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportTask:
    """What an export needs to know of a task."""

    tokenizers: Callable[[Any], tuple[Tokenizer, Tokenizer]]  # of a run: the source's and the target's
    passages: Callable[[Any, int], list[Passage]]  # of a run's validation text: those of the proof, and as many again
    n_passages: int  # of the proof
    n_bytes: Callable[[Any, list[Passage]], int | None]  # of what counts of them, where bits a byte are of interest
    options: tuple[str, ...]  # of `heed export`, which other tasks have no use for


def _pairs(run: TranslationRun, n: int) -> list[Passage]:
    """The first pairs of the validation text, cut where they are too long."""
    src, tgt, text, end = run.src_tokenizer, run.tgt_tokenizer, run.validation, _longest(run)
    encoded = zip(src.encode(text.src[:n]), tgt.encode(text.tgt[:n]), strict=True)
    return [Passage([], [*target[:end], tgt.eos_id], [*source[:end], src.eos_id]) for source, target in encoded]


def _longest(run: TranslationRun) -> int:
    """Tokens of a side, without its end."""
    fit = [stack.n_positions for stack in run.spec.stacks.values() if stack.n_positions is not None]
    return min([LONGEST, *(n - 1 for n in fit)])


def _texts(run: TextRun, n: int) -> list[Passage]:
    """The first texts of the validation documents, each as long as the context at most; prompts are given."""
    tokenizer, context, found = run.tokenizer, run.context, list[Passage]()
    for document in run.validation:
        prompt = tokenizer.encode(document.prompt)
        tokens = [*prompt, *tokenizer.encode(document.text), tokenizer.eos_id]
        for start in range(0, len(tokens), context):
            piece, n_given = tokens[start : start + context], min(max(len(prompt) - start, 0), context)
            found.append(Passage(piece[:n_given], piece[n_given:]))
        if len(found) >= n:
            break
    return found[:n]


def _text_bytes(run: TextRun, passages: list[Passage]) -> int:
    return sum(len(run.tokenizer.token_bytes(passage.tokens)) for passage in passages)


TASKS: Mapping[str, ExportTask] = {
    TranslationRun.task: ExportTask(
        tokenizers=lambda run: (run.src_tokenizer, run.tgt_tokenizer),
        passages=_pairs,
        n_passages=SENTENCES,
        n_bytes=lambda *_: None,
        options=("test_src", "test_tgt"),
    ),
    TextRun.task: ExportTask(
        tokenizers=lambda run: (run.tokenizer.pieces, run.tokenizer.pieces),
        passages=_texts,
        n_passages=100,
        n_bytes=_text_bytes,
        options=("chat_template",),
    ),
}
