"""`heed score`."""

import contextlib
import dataclasses
import itertools
import json
import math
from typing import TYPE_CHECKING, Any

import click

from heed.cli import messages, options
from heed.cli.batch.job import Numbering
from heed.cli.command import Command
from heed.cli.io.inputs import Inputs, read_lines, read_whole, warn_replaced
from heed.cli.io.locations import InputFile, expand
from heed.cli.io.records import Decoder, Plain
from heed.cli.io.streams import write
from heed.cli.jobs import make_directory, plan
from heed.cli.loading import find_model
from heed.models.errors import DataError, ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from heed.cli.batch.job import Answer, Block
    from heed.models.tasks.scorer import Score, Scorer, ScoringInput

WINDOW = 256  # texts that are read ahead, if they have arrived
FILE = InputFile()
INVITATION = "Type lines to score; Ctrl-D ends."


@click.command(
    cls=Command,
    sections={
        "Text": ("inputs", "document", "pairs", "end"),
        "Translations": ("src", "tgt", "length_penalty"),
        "Output": ("output", "force", "as_json", "only_total"),
        "Running": ("model", "device", "threads", "ray"),
    },
)
@click.option(
    "-i",
    "--input",
    "inputs",
    multiple=True,
    type=FILE,
    help="File to score line by line, or a pattern of files; - is stdin. Repeat for more.  [default: -]",
)
@click.option("--document", is_flag=True, help="Score each file as one text instead of line by line.")
@click.option(
    "--pairs", type=FILE, help="JSON lines with prompts and completions; score each completion after its prompt."
)
@click.option("--end", is_flag=True, help="Include the end-of-text token in the score.")
@click.option("--src", type=options.TEXT_FILE, help="Source text of translations to score.")
@click.option("--tgt", type=options.TEXT_FILE, help="Its translation, line by line.")
@options.length_penalty
@click.option("--json", "as_json", is_flag=True, help="Write JSON lines.")
@options.batch_output
@options.force
@click.option("--total", "only_total", is_flag=True, help="Write only the totals, preceded by the number of texts.")
@options.model_option(
    help="Directory or name of the model.  [default: shakespeare or, with --src, en-de; both come with heed]"
)
@options.device
@options.threads
@options.ray
@click.pass_context
def command(
    ctx: click.Context,
    /,
    inputs: tuple[str, ...],
    output: str | None,
    ray: str | None,
    force: bool,
    pairs: str | None,
    src: str | None,
    tgt: str | None,
    as_json: bool,
    only_total: bool,
    document: bool,
    end: bool,
    length_penalty: float | None,
    **running: Any,
) -> None:
    """Compute the log-probability of texts or translations.

    \b
    heed score -m novel < lines.txt
    heed score -m novel --document --total -i novel.txt
    heed generate --batch < prompts.txt | heed score --pairs -
    heed score -m ende --src test.en --tgt test.de

    Writes for each line, separated by tabs: log-probability in nats, number of tokens, perplexity and, for a
    translation, the score that ranks it. Totals go to stderr.
    """
    of_text = {"--input": inputs, "--document": document, "--pairs": pairs, "--end": end}
    _require_one_task(of_text, src=src, tgt=tgt, length_penalty=length_penalty)
    names = expand(inputs) or ("-",)
    other = {"--document": document, "--pairs": pairs, "--src": src, "--total": only_total}
    _require_lines(other, output=output, ray=ray)
    if output is not None:
        ctx.exit(_score_files(names, output, end=end, as_json=as_json, ray=ray, force=force, **running))
    written = _Output(as_json=as_json, only_total=only_total)
    if src is not None and tgt is not None:
        _score_translations(written, src, tgt, length_penalty, **running)
        return
    scorer = _load("generate", **running)
    windows = _pairs(scorer, pairs, end) if pairs else _texts(scorer, names, end, document=document)
    for window in windows:
        written.add(scorer.score([passage for passage, _ in window]), sum(n_bytes for _, n_bytes in window))
    written.close()


def _load(task: str, *, model: str | None, **running: Any) -> "Scorer":
    from heed.models.tasks.scorer import Scorer

    path = find_model(model, task)
    with messages.timed(f"Loaded {path} for {running['device']}"):
        return Scorer.load(path, task, **running)


def _require_one_task(of_text: dict[str, Any], **of_translations: Any) -> None:
    """Refuse options that exclude each other.

    Raises:
        UsageError: Names them.
    """
    text = [name for name, given in of_text.items() if given]
    translations = [f"--{name.replace('_', '-')}" for name, given in of_translations.items() if given is not None]
    if text and translations:
        raise click.UsageError(f"{text[0]} is for texts and {translations[0]} for translations; leave one out.")
    if translations and not {"--src", "--tgt"} <= set(translations):
        raise click.UsageError("Scoring translations needs both --src and --tgt.")
    if of_text["--pairs"] and (of_text["--input"] or of_text["--document"]):
        raise click.UsageError("--pairs names its own file; leave out --input and --document.")


def _require_lines(other: dict[str, Any], *, output: str | None, ray: str | None) -> None:
    """Refuse a file or a cluster for what is no scoring of lines.

    Raises:
        UsageError: Names it.
    """
    if ray is not None and output is None:
        raise click.UsageError("--ray needs -o: a file, or a directory for a file of each input.")
    if output is not None and (wrong := [name for name, given in other.items() if given]):
        raise click.UsageError(f"-o is for the scores of lines; leave out {wrong[0]}.")


def _score_files(
    names: tuple[str, ...],
    output: str,
    *,
    end: bool,
    as_json: bool,
    ray: str | None,
    force: bool,
    model: str | None,
    device: str,
    threads: int | None,
) -> int:
    """Score lines of files into files, here or on a Ray cluster; returns the exit status."""
    from heed.cli.batch.command import job_note, run_jobs
    from heed.cli.batch.workers.scoring import ScoreWorker

    make_directory(output)
    path = find_model(model, "generate")
    worker = ScoreWorker(device, threads or 1 if ray else threads, end)
    note = job_note(path, dataclasses.replace(worker, threads=None)) | {"json": as_json}
    written = _Output(as_json=as_json, only_total=False)
    jobs = [_ScoreJob(job.names, job.output or "", written, note) for job in plan(names, output, "lines", None)]
    return run_jobs(jobs, worker, [path], ray=ray, names=names, force=force)


class _ScoreJob:
    """Lines of some inputs to score; see `heed.cli.batch.job.FileJob`."""

    position = 0

    def __init__(self, names: tuple[str, ...], output: str, scores: "_Output", note: "Mapping[str, object]") -> None:
        self.output = output
        self._names, self._scores, self._note = names, scores, note
        self._decoder = Decoder()

    def blocks(self) -> "Iterator[Block]":
        lists = read_lines(self._names, self._decoder, WINDOW, invitation=INVITATION)
        return Numbering(self._note).blocks(lists, lambda _, texts: texts)

    def written(self, _: "Block", answer: "Answer") -> bytes:
        return "".join(self._scores.line(score) for score in answer.result).encode()

    def close(self) -> None:
        warn_replaced(self._decoder)


def _texts(
    scorer: "Scorer", inputs: tuple[str, ...], end: bool, *, document: bool
) -> "Iterator[list[tuple[ScoringInput, int]]]":
    """The lines of files, or each whole file, with their numbers of bytes."""
    decoder = Decoder()
    texts = _documents(inputs) if document else read_lines(inputs, decoder, WINDOW, invitation=INVITATION)
    for window in texts:
        yield [(scorer.passage(text, end=end), len(text.encode())) for text in window]
    warn_replaced(decoder)


def _documents(inputs: tuple[str, ...]) -> "Iterator[list[str]]":
    """Each file's text."""
    for name in inputs:
        decoder = Decoder()
        yield [read_whole(name, decoder, invitation="Type a text; Ctrl-D ends it.")]
        warn_replaced(decoder, f"{name} is")


def _pairs(scorer: "Scorer", name: str, end: bool) -> "Iterator[list[tuple[ScoringInput, int]]]":
    """The completions of a file's records, with their prompts."""
    plain = Plain(decoder := Decoder())
    with contextlib.closing(Inputs((name,), invitation=INVITATION)) as source:
        for window in source.windows(WINDOW):
            yield from window.records(lambda line: _pair(scorer, plain.parse(line).words, end))
    warn_replaced(decoder)


def _pair(scorer: "Scorer", line: str, end: bool) -> "tuple[ScoringInput, int]":
    """A record's completion; from heed generate, its exact tokens, and the end-of-text token if it was generated."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"not JSON ({error}); correct or delete the line") from None
    fields = ("prompt", "completion")
    texts = [str(record[field]) for field in fields if isinstance(record, dict) and isinstance(record.get(field), str)]
    if len(texts) < len(fields):
        raise DataError("no text in the fields 'prompt' and 'completion'; correct or delete the line")
    prompt, completion = (text.encode("utf-8", "replace").decode() for text in texts)  # JSON may hold lone surrogates
    passage = scorer.passage(completion, prompt=prompt, end=end or record.get("ended") == "end")
    if isinstance(record.get("tokens"), list):
        try:
            passage = scorer.drawn(passage, record["tokens"])
        except ModelError as error:
            raise DataError(str(error)) from None
    return passage, len(completion.encode())


def _score_translations(output: "_Output", src: str, tgt: str, length_penalty: float | None, **running: Any) -> None:
    sources, translations = (_lines(name) for name in (src, tgt))
    if len(sources) != len(translations):
        raise DataError(
            f"{src}: {len(sources):,} lines, {tgt}: {len(translations):,} lines; "
            "give files that correspond line by line"
        )
    scorer = _load("translate", **running)
    alpha = scorer.alpha if length_penalty is None else length_penalty
    for begin in range(0, len(sources), WINDOW):
        some = slice(begin, begin + WINDOW)
        output.add(scorer.score(scorer.pairs(sources[some], translations[some])), alpha=alpha)
    output.close()


def _lines(name: str) -> list[str]:
    decoder = Decoder()
    found = list(itertools.chain.from_iterable(read_lines((name,), decoder, WINDOW)))
    warn_replaced(decoder, f"{name}: {decoder.n_replaced} lines were")
    return found


class _Output:
    """Writes scores and sums them."""

    def __init__(self, *, as_json: bool, only_total: bool) -> None:
        self._as_json, self._only_total = as_json, only_total
        self._scores: dict[str, float] = {"log_prob": 0.0, "n_tokens": 0, "score": 0.0}
        self._n, self._n_bytes, self._ranked = 0, 0, False

    def add(self, scores: "Sequence[Score]", n_bytes: int = 0, alpha: float | None = None) -> None:
        """Write scores of texts with this many bytes together, or of translations with a length penalty."""
        self._ranked = alpha is not None
        for score in scores:
            figures = _figures(score)
            if alpha is not None:
                figures["score"] = score.penalized(alpha)
            if not self._only_total:
                write(self._written(figures) + "\n")
            for name in self._scores:
                self._scores[name] += figures.get(name, 0.0)
        self._n, self._n_bytes = self._n + len(scores), self._n_bytes + n_bytes

    def line(self, score: "Score") -> str:
        """The line of a text."""
        return self._written(_figures(score)) + "\n"

    def close(self) -> None:
        """Write the totals; for the scores of translations, their mean."""
        from heed.models.tasks.scorer import Score

        total = Score(self._scores["log_prob"], int(self._scores["n_tokens"]))
        figures = {"texts": self._n, **_figures(total)}
        if self._ranked:
            figures["score"] = self._scores["score"] / self._n
        elif self._n_bytes:
            figures["bits_per_byte"] = -total.log_prob / math.log(2) / self._n_bytes
        if self._only_total:
            write(self._written(figures) + "\n")
        else:
            messages.note(", ".join(f"{name.replace('_', ' ')} {_plain(value)}" for name, value in figures.items()))

    def _written(self, figures: dict[str, float]) -> str:
        if not self._as_json:
            return "\t".join(map(_plain, figures.values()))
        return json.dumps({name: value if math.isfinite(value) else None for name, value in figures.items()})


def _figures(score: "Score") -> dict[str, float]:
    return {"log_prob": score.log_prob, "n_tokens": score.n_tokens, "perplexity": score.perplexity}


def _plain(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.4f}"
