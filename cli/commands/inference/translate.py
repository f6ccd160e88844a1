"""`heed translate`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from heed.cli import messages, options
from heed.cli.command import Command
from heed.cli.io.formats import choice
from heed.cli.io.locations import InputFile, OutputPath, expand, is_url
from heed.cli.jobs import Job, make_directory, plan, tell_formats
from heed.cli.loading import find_models, load_translator
from heed.cli.translation import kept
from heed.models.system.files import refuse_existing
from heed.models.system.streams import is_stream

if TYPE_CHECKING:
    from heed.cli.translation.run import Run


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
        "Results": ("as_json", "n_best", "alignments"),
        "Terms and tags": ("protect", "keep_tags", "glossary", "repair"),
        "Model and search": ("model", "source", "target", *options.BEAM_SEARCH, "shortlist", "split"),
        "Running": ("shard", "resume", "batch_size", "device", "threads", "ray"),
    },
)
@options.models
@click.option("--from", "source", default="", help="Language of the lines: choose a model of it, such as de.")
@click.option("--to", "target", default="", help="Language to translate to: choose a model of it.")
@click.argument("files", nargs=-1, type=InputFile())
@click.option(
    "-i",
    "--input",
    "inputs",
    multiple=True,
    type=InputFile(),
    help="File to translate, as FILES, or a pattern of files such as 'crawl/*.gz'; - is stdin. Repeat for more.  "
    "[default: -]",
)
@click.option(
    "-o",
    "--output",
    type=OutputPath(allow_dash=True),
    help="File to write, .gz and .zst too; or a directory for a file of each input.  [default: stdout]",
)
@options.force
@click.option(
    "--input-format",
    type=click.Choice(choice.NAMES),
    help="Format of the inputs; of tsv, csv and jsonl, one column or field is translated.  [default: by file name, "
    "else lines]",
)
@click.option("--column", type=Column(), help="Column of tsv or csv, counted from 1; or its name in a csv.")
@click.option("--field", help="Field of jsonl; a.b is b within a.  [default: text]")
@click.option(
    "--document",
    is_flag=True,
    help="Join hard-wrapped lines: lines up to a blank line are a paragraph, which becomes one line.",
)
@click.option("--all", "everything", is_flag=True, help="Also translate entries of a .po that have a translation.")
@click.option("--skip-bad", is_flag=True, help="Skip bad lines of tsv and jsonl, and count them.")
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
@click.option(
    "--alignments",
    is_flag=True,
    help="Add which words translate which: text ||| 0-0 1-2, words of source and text counted from 0; white space "
    "separates words. With --json, as a field.",
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
@options.ray
@click.pass_context
def command(
    ctx: click.Context,
    /,
    model: tuple[str, ...],
    source: str,
    target: str,
    files: tuple[str, ...],
    inputs: tuple[str, ...],
    output: str | None,
    shard: tuple[int, int] | None,
    resume: bool,
    force: bool,
    threads: int | None,
    ray: str | None,
    **asked: Any,
) -> None:
    """Translate lines of text, or files of other formats.

    \b
    echo "Good morning!" | heed translate
    heed translate --from de --to en -i news.de -o news.en
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
    names = expand((*files, *inputs)) or ("-",)
    jobs = plan(names, output, asked["input_format"], asked["column"])
    is_large = ray is not None or is_url(output or "")
    _refuse(jobs, shard, resume=resume, is_large=is_large, asked=asked)
    make_directory(output)
    if not is_large:
        jobs = [job for job in jobs if not _is_complete(job, resume=resume, force=force)]
    if not jobs:
        return
    tell_formats(jobs, asked["input_format"])
    paths = find_models(model, (source, target))
    loading = _loading(jobs, asked)

    def run() -> "Run":
        from heed.cli.translation.run import Run  # imported here, so that a model is opened meanwhile

        return Run(jobs, paths, asked, shard, loading, threads)

    if is_large:
        ctx.exit(run().in_blocks(ray=ray, force=force))
    device, glossary = asked["device"], asked["glossary"]
    translator = load_translator(paths, device=device, threads=threads, glossary=glossary, meanwhile=run, **loading)
    ctx.exit(run().here(translator, resume=resume, force=force))


def _loading(jobs: list[Job], asked: dict[str, Any]) -> dict[str, Any]:
    """How the model is loaded."""
    protects = asked["protect"] or asked["keep_tags"] or any(job.format not in choice.LINE_FORMATS for job in jobs)
    loading = {name: asked[name] for name in ("shortlist", "split", "repair")}
    return loading | {"aligns": bool(protects or asked["alignments"])}


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


def _refuse(
    jobs: list[Job], shard: tuple[int, int] | None, *, resume: bool, is_large: bool, asked: dict[str, Any]
) -> None:
    """Refuse options that exclude each other."""
    forms = {job.format for job in jobs}
    files = all(Path(name).is_file() for job in jobs for name in job.names)
    outputs = all(job.output and (is_url(job.output) or not is_stream(Path(job.output))) for job in jobs)
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
        "--alignments needs --input-format lines.": asked["alignments"] and forms != {"lines"},
        "--alignments counts words, and tags are none: leave out --keep-tags and --protect.": (
            asked["alignments"] and (asked["keep_tags"] or asked["protect"])
        ),
        "--shard counts lines and would cut a paragraph of --document.": shard and asked["document"],
        f"--shard counts lines, and {', '.join(sorted(forms))} is not read by lines; part the files instead.": (
            shard and not forms <= set(choice.LINE_FORMATS)
        ),
        "--shard needs files (-i), because it counts their lines first.": shard and not files,
        "--ray needs -o: a file, or a directory for a file of each input.": is_large and not outputs,
        "--ray parts the lines itself; leave out --shard.": is_large and shard,
        "--resume needs an output file (-o) to continue.": resume and not all(job.file for job in jobs),
        "--resume needs its input unchanged; name another file with -o.": resume and any(map(_overwrites, jobs)),
        "--ray needs its input unchanged; name another file with -o.": is_large and any(map(_overwrites, jobs)),
    }
    for message, is_wrong in wrong.items():
        if is_wrong:
            raise click.UsageError(message)


def _overwrites(job: Job) -> bool:
    """Whether the output is one of the inputs."""
    file = job.file
    return file is not None and file.exists() and any(Path(name).samefile(file) for name in job.names if name != "-")
