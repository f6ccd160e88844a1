"""`heed translate`."""

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from heed.cli import kept, messages, options
from heed.cli.command import Command
from heed.cli.io import results
from heed.cli.io.inputs import Inputs, warn_replaced
from heed.cli.io.line_progress import LineProgress
from heed.cli.io.records import Decoder, Jsonl, Plain, Tsv, join_paragraphs
from heed.cli.loading import find_model, load_translator, search_config
from heed.models.system.files import refuse_existing, sha256
from heed.models.system.streams import is_stream

if TYPE_CHECKING:
    from collections.abc import Iterator

    from heed.cli.io.records import Format, Record
    from heed.models.decoding.config import DecodeConfig
    from heed.models.tasks.translator import Translator

INVITATION = "Translating what you type, a line at a time; Ctrl-D ends."
SEARCH = ("beam_size", "beam_threshold", "length_penalty", "max_length", "repetition_penalty", "no_repeat_ngram")


class Shard(click.ParamType[tuple[int, int]]):
    """A part of several, as 2/8."""

    name = "i/n"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        """Its number, counted from 1, and how many there are."""
        if isinstance(value, tuple):
            return value
        part, slash, n_parts = value.partition("/")
        if not (slash and part.isdecimal() and n_parts.isdecimal() and 1 <= int(part) <= int(n_parts)):
            self.fail(f"{value!r} is none of 1/{n_parts or 'n'} to {n_parts or 'n'}/{n_parts or 'n'}.", param, ctx)
        return int(part), int(n_parts)


@click.command(
    cls=Command,
    sections={
        "Input and output": ("inputs", "output", "force", "input_format", "column", "field", "document", "strict"),
        "Results": ("as_json", "n_best"),
        "Terms and tags": ("protect", "keep_tags", "glossary", "repair"),
        "Model and search": ("model", *SEARCH, "shortlist", "split"),
        "Running": ("shard", "resume", "batch_size", "device", "threads"),
    },
)
@options.model
@click.option(
    "-i",
    "--input",
    "inputs",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, allow_dash=True),
    help="File to translate, .gz and .zst too; - is stdin. Repeat for more files.  [default: -]",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    help="File to write, .gz and .zst too.  [default: stdout]",
)
@options.force
@click.option(
    "--input-format",
    type=click.Choice(["lines", "tsv", "jsonl"]),
    default="lines",
    show_default=True,
    help="tsv and jsonl: translate one column or field, and pass the rest through.",
)
@click.option("--column", type=click.IntRange(min=1), help="The column of tsv, counted from 1.  [default: 1]")
@click.option("--field", help="The field of jsonl.  [default: text]")
@click.option(
    "--document",
    is_flag=True,
    help="Lines without a blank one between are a paragraph, which becomes one line.",
)
@click.option("--strict", is_flag=True, help="Stop at text that is no UTF-8, and do not replace it.")
@click.option(
    "--json", "as_json", is_flag=True, help="Write objects: source, translation, score, confidence, doubts, tokens."
)
@click.option(
    "--n-best",
    type=click.IntRange(min=1),
    help="Write so many translations of a line, at most the beam size, best first: number ||| text ||| score, with "
    "lines counted from 0. With --json, as alternatives.",
)
@options.beam_size
@options.beam_threshold
@options.length_penalty
@options.max_length
@options.repetition_penalty
@options.no_repeat_ngram
@options.shortlist
@options.split
@kept.options
@click.option("--shard", type=Shard(), help="Translate the i-th of n parts of the lines; cat joins their outputs.")
@click.option("--resume", is_flag=True, help="Go on with the output of the same command, where it was stopped.")
@options.batch_size
@options.device
@options.threads
def command(
    model: str | None,
    inputs: tuple[str, ...],
    output: Path | None,
    shard: tuple[int, int] | None,
    resume: bool,
    force: bool,
    threads: int | None,
    **asked: Any,
) -> None:
    """Translate lines of text.

    \b
    echo "Good morning!" | heed translate
    heed translate -i news.en -o news.de
    heed translate -m ende --beam-size 1 < news.en > news.de
    heed translate -i en.jsonl.gz --input-format jsonl -o de.jsonl.gz --resume

    Reads stdin or files and writes a line for each line, in order, blank for blank. Lines are translated as soon as
    they have arrived, so a person may type them.
    """
    if old := asked.pop("keep"):
        messages.note("--keep is called --protect now; the old name goes in the next release")
        asked["protect"] += old
    names = inputs or ("-",)
    file = None if output is None or str(output) == "-" else output
    _refuse(names, file, shard, resume=resume, asked=asked)
    if file is not None and not is_stream(file):
        if resume and file.exists() and not file.with_name(f"{file.name}.part").exists():
            messages.note(f"{file} is complete already")
            return
        refuse_existing(file, force=force)
    from heed.cli.io.outputs import open_output
    from heed.models.tasks.keeper import Keeper
    from heed.models.tasks.translator import WINDOW

    how = {name: asked[name] for name in ("device", "shortlist", "split", "glossary", "repair")}
    translator = load_translator(model, threads=threads, shares=bool(asked["protect"] or asked["keep_tags"]), **how)
    keeper, report = Keeper(translator, asked["protect"], tags=asked["keep_tags"]), kept.Report()
    markup = kept.OpenMarkup()
    config = _config(translator, asked)
    job = _job(find_model(model), {"shard": shard, **asked}) if file else {}
    decoder = Decoder(strict=asked["strict"])
    result, batch_size, n_best = _result(translator, asked), asked["batch_size"], asked["n_best"] or 1
    with (
        contextlib.closing(Inputs(names, shard, invitation=INVITATION)) as source,
        open_output(file, job, resume=resume, force=force) as sink,
        LineProgress(source.size, hidden=file is None and sys.stdout.isatty()) as progress,
    ):
        windows = _records(source, batch_size * WINDOW, _format(decoder, asked), document=asked["document"])
        if asked["keep_tags"] and asked["input_format"] == "lines":
            windows = markup.follow(windows)
        for window in sink.unwritten(windows):
            lines, inside = [record.words for record in window], [record.inside for record in window]
            found = keeper.n_best(lines, config, n_best, batch_size=batch_size, inside=inside)
            first = source.first + sink.n_records
            report.add(first, found)
            numbered = enumerate(zip(window, found, strict=True), start=first)
            sink.write(b"".join(result(number, record, best) for number, (record, best) in numbered), window)
            progress.add(len(window), source.position)
    for note in report.notes():
        (messages.note if file else messages.detail)(note)  # a filter in a pipe says no more than it must
    for warning in [*report.warnings(), *markup.warnings()]:
        messages.warning(warning)
    warn_replaced(decoder)


def _refuse(
    names: tuple[str, ...],
    file: Path | None,
    shard: tuple[int, int] | None,
    *,
    resume: bool,
    asked: dict[str, Any],
) -> None:
    """Refuse options that do not go together."""
    lines = asked["input_format"] == "lines"
    files = all(Path(name).is_file() for name in names)
    wrong = {
        "--column needs --input-format tsv.": asked["column"] and asked["input_format"] != "tsv",
        "--field needs --input-format jsonl.": asked["field"] is not None and asked["input_format"] != "jsonl",
        "--document needs --input-format lines.": asked["document"] and not lines,
        "--json and --n-best need --input-format lines.": (asked["as_json"] or asked["n_best"]) and not lines,
        "--shard counts lines, and would cut a paragraph of --document.": shard and asked["document"],
        "--shard needs files (-i), to count their lines first.": shard and not files,
        "--resume needs a file (-o) to go on with.": resume and file is None,
        "--resume needs its input as it was; with -o name another file.": resume
        and file is not None
        and file.exists()
        and any(Path(name).samefile(file) for name in names if name != "-"),
    }
    for message, is_wrong in wrong.items():
        if is_wrong:
            raise click.UsageError(message)


def _job(model: Path, asked: dict[str, Any]) -> dict[str, object]:
    """What an output depends on, besides the input."""
    import importlib.metadata  # not above, so that a start without -o goes without

    from heed.models.bundle import manifest

    digest = sha256(model / manifest.FILE_NAME)  # which has those of all its files
    glossary = asked["glossary"] and sha256(asked["glossary"])
    return {"heed": importlib.metadata.version("heed"), "model": digest, **asked, "glossary": glossary}


def _config(translator: "Translator", asked: dict[str, Any]) -> "DecodeConfig":
    """How to search: the model's own way, but for what was asked."""
    config = search_config(translator.config, {name: asked[name] for name in SEARCH})
    n_best = asked["n_best"] or 1
    if n_best > config.beam_size:
        raise click.UsageError(f"--n-best {n_best} needs --beam-size {n_best} at least; it is {config.beam_size}.")
    return config


def _format(decoder: Decoder, asked: dict[str, Any]) -> "Format":
    if asked["input_format"] == "tsv":
        return Tsv(decoder, asked["column"] or 1)
    if asked["input_format"] == "jsonl":
        return Jsonl(decoder, "text" if asked["field"] is None else asked["field"])
    return Plain(decoder)


def _result(translator: "Translator", asked: dict[str, Any]) -> results.Result:
    if asked["as_json"]:
        return results.json_object(translator.pieces, asked["n_best"] or 1)
    return results.moses if asked["n_best"] else results.line


def _records(source: Inputs, limit: int, form: "Format", *, document: bool) -> "Iterator[list[Record]]":
    """The records of the inputs."""
    windows = (records for window in source.windows(limit) for records in window.records(form.parse))
    return join_paragraphs(windows) if document else windows
