"""`heed evaluate`."""

import contextlib
import dataclasses
import json
from collections.abc import Sequence
from typing import Any

import click
from click.core import ParameterSource

from heed.cli import messages, options
from heed.cli.command import Command
from heed.cli.io.inputs import Inputs
from heed.cli.io.locations import InputPath
from heed.cli.loading import find_model, load_translator, search_config
from heed.models.errors import DataError
from heed.models.text.scripts import bleu_tokenizer

WINDOW = 1 << 16  # lines read at a time
INPUT = InputPath(exists=True, dir_okay=False, allow_dash=True)
# sacreBLEU's tokenizers that need no download.
TOKENIZERS = ("13a", "intl", "char", "zh", "none")
SPACED = ("13a", "intl", "none")  # those that tell words by spaces
TRANSLATING = (
    "model", "beam_size", "beam_threshold", "length_penalty", "max_length", "shortlist", "split", "batch_size",
    "device", "threads",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Score:
    """The score of all translations together by one metric, in percent."""

    score: float
    mean: float | None  # over the resamples
    margin: float | None  # half the width of the 95% confidence interval
    signature: str  # sacreBLEU's, which states how the score was computed


@click.command(
    cls=Command,
    extra="evaluate",
    sections={
        "What is scored": ("src", "hyp", "refs"),
        "Scoring": ("tokenize", "bootstrap", "as_json"),
        "Translating --src": TRANSLATING,
    },
)
@click.option("--src", type=INPUT, help="Source text to translate; - is stdin.")
@click.option("--hyp", type=INPUT, help="Finished translations (hypotheses); - is stdin.")
@click.option(
    "--ref",
    "refs",
    required=True,
    multiple=True,
    type=INPUT,
    help="Reference translations. Repeat for several references.",
)
@click.option(
    "--bootstrap",
    type=click.IntRange(min=0),
    default=1000,
    show_default=True,
    help="Number of bootstrap resamples for confidence intervals; 0 for none.",
)
@click.option(
    "--tokenize",
    type=click.Choice(TOKENIZERS),
    default="13a",
    show_default=True,
    help="Tokenizer for BLEU: zh for Chinese, char for Japanese and other languages without spaces.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@options.model
@options.beam_size
@options.beam_threshold
@options.length_penalty
@options.max_length
@options.shortlist
@options.split
@options.batch_size
@options.device
@options.threads
@click.pass_context
def command(
    ctx: click.Context,
    /,
    src: str | None,
    hyp: str | None,
    refs: tuple[str, ...],
    bootstrap: int,
    tokenize: str,
    as_json: bool,
    **translating: Any,
) -> None:
    """Evaluate translations: BLEU, chrF and TER.

    \b
    heed evaluate -m ende --src test.en --ref test.de
    heed translate -i test.en | heed evaluate --hyp - --ref test.de

    Translates --src with a model, or reads translations from --hyp, and compares them line by line with --ref.
    sacreBLEU computes the scores and their signatures.
    """
    if (src is None) == (hyp is None):
        raise click.UsageError("Give --src to translate, or --hyp with finished translations.")
    given = [name for name in TRANSLATING if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE]
    if hyp and given:
        raise click.UsageError(f"--hyp is not translated; leave out {options.flags(ctx, given)}, or give --src.")
    if [src, hyp, *refs].count("-") > 1:
        raise click.UsageError("Only one of the files can be stdin.")
    metrics = _metrics(tokenize)  # first, because sacreBLEU may be missing
    name = str(hyp or src)
    lines = _read(name)
    references = [_read(ref) for ref in refs]
    _require_pairs(name, lines, dict(zip(refs, references, strict=True)))
    suited = bleu_tokenizer(line for each in references for line in each)
    if tokenize in SPACED and suited not in SPACED:
        messages.note(
            f"{refs[0]}: the script has no spaces, so the tokenizer {tokenize} finds no words; use --tokenize {suited}"
        )
    translations = lines if hyp else _translate(lines, **translating)
    scores = _scores(metrics, translations, references, bootstrap)
    report = {key: dataclasses.asdict(score) for key, score in scores.items()}
    click.echo(json.dumps({"lines": len(lines)} | report) if as_json else _text(scores, len(lines), bootstrap))


def _read(name: str) -> list[str]:
    r"""The lines of a file, which end only at \n.

    Raises:
        DataError: A line is not UTF-8, or a compressed file is damaged.
    """
    found = []
    with contextlib.closing(Inputs((name,), invitation="Type lines to score; Ctrl-D ends.")) as source:
        for window in source.windows(WINDOW):
            for number, line in enumerate(window.lines, start=window.number):
                try:
                    found.append(line.removesuffix(b"\n").decode("utf-8"))
                except UnicodeDecodeError:
                    raise DataError(
                        f"{window.name}: line {number} is not UTF-8; convert the file: iconv -t UTF-8"
                    ) from None
    return found


def _require_pairs(name: str, lines: list[str], references: dict[str, list[str]]) -> None:
    """Refuse files that do not correspond line by line.

    Raises:
        DataError: They have different numbers of lines, or none.
    """
    for ref, right in references.items():
        if len(right) != len(lines):
            raise DataError(
                f"{name}: {len(lines):,} lines, {ref}: {len(right):,} lines; give files that correspond line by line"
            )
    if not lines:
        raise DataError(f"{name}: no lines; give text to score")


def _translate(
    lines: list[str], *, model: str | None, device: str, threads: int | None, shortlist: bool, split: bool,
    batch_size: int, **search: Any,
) -> list[str]:  # fmt: skip
    path = find_model(model)
    translator = load_translator([path], device=device, threads=threads, shortlist=shortlist, split=split)
    config = search_config(translator.config, search)
    with messages.timed(f"Translated {len(lines):,} lines"):
        found = translator.translate(lines, config, batch_size=batch_size)
    return [translation.text for translation in found]


def _metrics(tokenize: str) -> dict[str, Any]:
    import sacrebleu

    return {"bleu": sacrebleu.BLEU(tokenize=tokenize), "chrf": sacrebleu.CHRF(), "ter": sacrebleu.TER()}


def _scores(
    metrics: dict[str, Any], translations: Sequence[str], references: list[list[str]], bootstrap: int
) -> dict[str, Score]:
    """The scores by all metrics of sacreBLEU."""
    from sacrebleu.significance import PairedTest

    if not bootstrap:
        whole = {name: metric.corpus_score(translations, references).score for name, metric in metrics.items()}
        return {name: Score(round(whole[name], 2), None, None, str(metrics[name].get_signature())) for name in metrics}
    # A paired test with a single system, because the metrics' own bootstrap fails if a resample scores 0.
    test = PairedTest([("", translations)], metrics, references, test_type="bs", n_samples=bootstrap)
    signatures, results = test()
    found = zip(metrics, signatures.items(), strict=True)
    return {name: _score(results[theirs][0], str(signature)) for name, (theirs, signature) in found}


def _score(result: Any, signature: str) -> Score:
    """A result of sacreBLEU, converted from NumPy's numbers."""
    score, mean, margin = (round(float(number), 2) for number in (result.score, result.mean, result.ci))
    return Score(score, mean, margin, signature)


def _text(scores: dict[str, Score], n_lines: int, bootstrap: int) -> str:
    names = {"bleu": "BLEU", "chrf": "chrF", "ter": "TER"}
    lines = []
    for key, score in scores.items():
        interval = "" if score.mean is None else f"  ({score.mean:.2f} ± {score.margin:.2f})"
        lines.append(f"{names[key]:<5}{score.score:>6.2f}{interval}{'  lower is better' * (key == 'ter')}")
    resamples = f"; in brackets the mean and 95% confidence interval of {bootstrap:,} resamples" * bool(bootstrap)
    signatures = [f"{names[key]:<5}{score.signature}" for key, score in scores.items()]
    return "\n".join([*lines, "", f"{n_lines:,} lines{resamples}", *signatures])
