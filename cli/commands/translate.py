"""`heed translate`."""

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from heed.cli import kept, messages, options
from heed.cli.command import Command
from heed.cli.io import results
from heed.cli.io.formats import choice
from heed.cli.io.formats.marks import KEPT
from heed.cli.io.inputs import Inputs, warn_replaced
from heed.cli.io.line_progress import LineProgress
from heed.cli.io.records import Decoder
from heed.cli.jobs import Job, make_directory, plan, tell_formats
from heed.cli.loading import find_models, load_translator, search_config
from heed.models.errors import HeedError
from heed.models.system.files import refuse_existing, sha256
from heed.models.system.streams import is_stream

if TYPE_CHECKING:
    from heed.models.decoding.config import DecodeConfig
    from heed.models.tasks.translator import Translator

INVITATION = "Type lines to translate; Ctrl-D ends."
SEARCH = ("beam_size", "beam_threshold", "length_penalty", "max_length", "repetition_penalty", "no_repeat_ngram")


class Column(click.types.StringParamType):
    """A column, by its number or its name."""

    name = "column"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Refuse what cannot be."""
        if not value or (value.lstrip("-").isdecimal() and int(value) < 1):
            self.fail(f"{value!r} is no column; they are counted from 1.", param, ctx)
        return value


class Shard(click.ParamType[tuple[int, int]]):
    """A shard, such as 2/8."""

    name = "i/n"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        """The number of the shard, counted from 1, and the number of shards."""
        if isinstance(value, tuple):
            return value
        part, slash, n_parts = value.partition("/")
        if not (slash and part.isdecimal() and n_parts.isdecimal() and 1 <= int(part) <= int(n_parts)):
            self.fail(f"{value!r} is not one of 1/{n_parts or 'n'} to {n_parts or 'n'}/{n_parts or 'n'}.", param, ctx)
        return int(part), int(n_parts)


@click.command(
    cls=Command,
    sections={
        "Input and output": ("inputs", "output", "force"),
        "Formats": ("input_format", "column", "field", "document", "everything", "skip_bad", "strict"),
        "Results": ("as_json", "n_best"),
        "Terms and tags": ("protect", "keep_tags", "glossary", "repair"),
        "Model and search": ("model", *SEARCH, "shortlist", "split"),
        "Running": ("shard", "resume", "batch_size", "device", "threads"),
    },
)
@options.models
@click.argument("files", nargs=-1, type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option(
    "-i",
    "--input",
    "inputs",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, allow_dash=True),
    help="File to translate, as FILES; - is stdin. Repeat for more files.  [default: -]",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(allow_dash=True),
    help="File to write, .gz and .zst too; or a directory for a file of each input.  [default: stdout]",
)
@options.force
@click.option(
    "--input-format",
    type=click.Choice(choice.NAMES),
    help="What the inputs are. tsv, csv, jsonl: one column or field is translated.  [default: as their names tell, "
    "else lines]",
)
@click.option("--column", type=Column(), help="The column of tsv or csv, counted from 1; or its name in a csv.")
@click.option("--field", help="The field of jsonl; a.b is b within a.  [default: text]")
@click.option(
    "--document",
    is_flag=True,
    help="Join hard-wrapped lines: lines up to a blank line are a paragraph, which becomes one line.",
)
@click.option("--all", "everything", is_flag=True, help="Translate also what a .po has translations of.")
@click.option("--skip-bad", is_flag=True, help="Pass over bad lines of tsv and jsonl, and count them.")
@click.option("--strict", is_flag=True, help="Stop at bytes that are not UTF-8 instead of replacing them.")
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Write JSON objects: source, translation, score, confidence, doubts, tokens.",
)
@click.option(
    "--n-best",
    type=click.IntRange(min=1),
    help="Write the N best translations of each line, at most the beam size: number ||| text ||| score, with "
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
@click.option("--shard", type=Shard(), help="Translate the I-th of N parts of the lines; cat joins the outputs.")
@click.option("--resume", is_flag=True, help="Continue the output of the same command where it stopped.")
@options.batch_size
@options.device
@options.threads
@click.pass_context
def command(
    ctx: click.Context,
    /,
    model: tuple[str, ...],
    files: tuple[str, ...],
    inputs: tuple[str, ...],
    output: str | None,
    shard: tuple[int, int] | None,
    resume: bool,
    force: bool,
    threads: int | None,
    **asked: Any,
) -> None:
    """Translate lines of text, or files of other formats.

    \b
    echo "Good morning!" | heed translate
    heed translate -i news.en -o news.de
    heed translate *.srt -o german/
    heed translate -m ende --beam-size 1 < news.en > news.de
    heed translate en.jsonl.gz --field text.en -o de.jsonl.gz --resume

    Reads stdin or FILES and writes a line for each line, in order, blank for blank. Lines are translated as soon as
    they have arrived, so a person may type them. Subtitles, catalogues of gettext, Markdown and HTML are read whole;
    what is no text of theirs stays byte for byte.
    """
    if old := asked.pop("keep"):
        messages.note("--keep is called --protect now; the old name goes in the next release")
        asked["protect"] += old
    names = (*files, *inputs) or ("-",)
    jobs = plan(names, output, asked["input_format"], asked["column"])
    _refuse(jobs, shard, resume=resume, asked=asked)
    make_directory(output)
    jobs = [job for job in jobs if not _is_complete(job, resume=resume, force=force)]
    if not jobs:
        return
    tell_formats(jobs, asked["input_format"])
    how = {name: asked[name] for name in ("device", "shortlist", "split", "glossary", "repair")}
    keeps = asked["protect"] or asked["keep_tags"] or any(job.format not in choice.LINE_FORMATS for job in jobs)
    paths = find_models(model)
    translator = load_translator(paths, threads=threads, shares=bool(keeps), **how)
    run = _Run(translator, paths, shard, {"resume": resume, "force": force}, asked)
    status = 0
    for job in jobs:
        try:
            run.translate(job)
        except HeedError as error:
            if len(jobs) == 1:
                raise
            click.echo(f"Error: {error}", err=True)  # the other files are none the worse
            status = status or error.exit_code
    ctx.exit(status)


class _Run:
    """What the jobs of a command share."""

    def __init__(
        self,
        translator: "Translator",
        paths: list[Path],
        shard: tuple[int, int] | None,
        how: dict[str, bool],
        asked: dict[str, Any],
    ) -> None:
        self._translator, self._shard, self._how, self._asked = translator, shard, how, asked
        self._paths = paths
        self._config = _config(translator, asked)
        self._reading = choice.Reading.asked(asked, lambda: _language(paths[0]))

    def translate(self, job: Job) -> None:
        """Translate some inputs into an output."""
        from heed.cli.io.outputs import open_output
        from heed.models.tasks.keeper import Keeper
        from heed.models.tasks.translator import WINDOW

        asked, decoder = self._asked, Decoder(strict=self._asked["strict"])
        form = self._reading.format(job.format, decoder)
        patterns = (KEPT, *asked["protect"]) if form.has_marks else asked["protect"]
        keeper = Keeper(self._translator, patterns, tags=asked["keep_tags"] or form.has_marks)
        note = _job(self._paths, {"shard": self._shard, **asked, "input_format": job.format}) if job.file else {}
        result, batch_size, n_best = _result(self._translator, asked), asked["batch_size"], asked["n_best"] or 1
        report = kept.Report("text" if form.has_marks else "line")
        markup = kept.OpenMarkup()
        keeps_mark = job.format not in choice.LINE_FORMATS
        with (
            contextlib.closing(Inputs(job.names, self._shard, keeps_mark=keeps_mark, invitation=INVITATION)) as source,
            open_output(job.file, note, **self._how) as sink,
            LineProgress(source.size, hidden=job.file is None and sys.stdout.isatty()) as progress,
        ):
            limit = batch_size * WINDOW
            windows = form.records(source.windows(limit), limit)
            if asked["keep_tags"] and job.format == "lines":
                windows = markup.follow(windows)
            for window in sink.unwritten(windows):
                texts = [text for record in window for text in record.texts]
                inside = [record.inside for record in window for _ in record.texts]
                best = keeper.n_best(texts, self._config, n_best, batch_size=batch_size, inside=inside)
                first = source.first + sink.n_records
                report.add(first, best)
                found = iter(best)
                numbered = enumerate(((record, [next(found) for _ in record.texts]) for record in window), start=first)
                sink.write(b"".join(result(number, *each) for number, each in numbered), window)
                progress.add(len(window), source.position)
        where = f"{job.file}: " if job.file and len(job.names) == 1 else ""
        for told in report.notes():
            (messages.note if job.file else messages.detail)(f"{where}{told}")  # a filter in a pipe says the least
        for warning in [*report.warnings(), *markup.warnings(), *form.warnings()]:
            messages.warning(f"{where}{warning}")
        warn_replaced(decoder)


def _is_complete(job: Job, *, resume: bool, force: bool) -> bool:
    """Whether there is nothing left to do for an output; one that may not be written is refused.

    Raises:
        HeedError: It exists, or its directory does not.
    """
    file = job.file
    if file is None or is_stream(file):
        return False
    if resume and file.exists() and not file.with_name(f"{file.name}.part").exists():
        messages.note(f"{file} is already complete")
        return True
    refuse_existing(file, force=force)
    return False


def _language(model: Path) -> str:
    """The language of a model's translations."""
    from heed.models.bundle import manifest

    return str(getattr(manifest.read(model), "tgt_language", ""))


def _refuse(jobs: list[Job], shard: tuple[int, int] | None, *, resume: bool, asked: dict[str, Any]) -> None:
    """Refuse options that exclude each other."""
    forms = {job.format for job in jobs}
    files = all(Path(name).is_file() for job in jobs for name in job.names)
    column = asked["column"]
    wrong = {
        "--column needs --input-format tsv or csv.": column and not forms & {"tsv", "csv"},
        "--column of tsv is a number; only a csv's first row has names.": column
        and "tsv" in forms
        and not column.isdecimal(),
        "--field needs --input-format jsonl.": asked["field"] is not None and "jsonl" not in forms,
        "--all needs --input-format po.": asked["everything"] and "po" not in forms,
        "--skip-bad needs --input-format jsonl or tsv.": asked["skip_bad"] and not forms & {"tsv", "jsonl"},
        "--document needs --input-format lines.": asked["document"] and forms != {"lines"},
        "--json and --n-best need --input-format lines.": (asked["as_json"] or asked["n_best"]) and forms != {"lines"},
        "--shard counts lines and would cut a paragraph of --document.": shard and asked["document"],
        f"--shard counts lines, and {', '.join(sorted(forms))} is not read by lines; part the files instead.": (
            shard and not forms <= set(choice.LINE_FORMATS)
        ),
        "--shard needs files (-i), because it counts their lines first.": shard and not files,
        "--resume needs an output file (-o) to continue.": resume and not all(job.file for job in jobs),
        "--resume needs its input unchanged; name another file with -o.": resume and any(map(_overwrites, jobs)),
    }
    for message, is_wrong in wrong.items():
        if is_wrong:
            raise click.UsageError(message)


def _overwrites(job: Job) -> bool:
    """Whether the output is one of the inputs."""
    file = job.file
    return file is not None and file.exists() and any(Path(name).samefile(file) for name in job.names if name != "-")


def _job(paths: list[Path], asked: dict[str, Any]) -> dict[str, object]:
    """What the output depends on, besides the input."""
    import importlib.metadata  # imported here, because a start without -o does not need it

    from heed.models.bundle import manifest

    digests = [sha256(path / manifest.FILE_NAME) for path in paths]  # the manifest has the hashes of all files
    glossary = asked["glossary"] and sha256(asked["glossary"])
    model: object = digests[0] if len(digests) == 1 else digests
    return {"heed": importlib.metadata.version("heed"), "model": model, **asked, "glossary": glossary}


def _config(translator: "Translator", asked: dict[str, Any]) -> "DecodeConfig":
    """The model's search settings, overridden by the options."""
    config = search_config(translator.config, {name: asked[name] for name in SEARCH})
    n_best = asked["n_best"] or 1
    if n_best > config.beam_size:
        raise click.UsageError(f"--n-best {n_best} needs a --beam-size of at least {n_best}, not {config.beam_size}.")
    return config


def _result(translator: "Translator", asked: dict[str, Any]) -> results.Result:
    if asked["as_json"]:
        return results.json_object(translator.pieces, asked["n_best"] or 1)
    return results.moses if asked["n_best"] else results.filled
