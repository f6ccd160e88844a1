"""`heed embed`."""

import contextlib
import dataclasses
import heapq
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from heed.cli import messages, options
from heed.cli.batch.job import Numbering
from heed.cli.batch.workers.embedding import EmbeddingWorker
from heed.cli.command import Command
from heed.cli.io.inputs import read_lines, warn_replaced
from heed.cli.io.locations import InputFile, OutputPath, expand, is_url
from heed.cli.io.records import Decoder
from heed.cli.io.streams import write
from heed.cli.jobs import make_directory, plan
from heed.cli.loading import find_model
from heed.models.system.files import file_whole, refuse_existing

if TYPE_CHECKING:
    from heed.cli.batch.job import Answer, Block
    from heed.models.tasks.embedder import Embedder

SUFFIX = ".npy"
WINDOW = 256  # lines that are read ahead, if they have arrived
INVITATION = "Type lines to embed; Ctrl-D ends."


@click.command(
    cls=Command,
    sections={
        "Input and output": ("inputs", "output", "force"),
        "Search": ("similar_to", "top"),
        "Running": ("model", "prefix", "batch_size", "device", "threads", "ray"),
    },
)
@click.option(
    "-i",
    "--input",
    "inputs",
    multiple=True,
    type=InputFile(),
    help="File to embed line by line, or a pattern of files; - is stdin. Repeat for more.  [default: -]",
)
@click.option(
    "-o",
    "--output",
    type=OutputPath(),
    help="A .npy, which becomes an array of float32 (lines, width), or a file of JSON lines. With --ray, JSON lines; "
    "a directory gets a file for each input.  [default: stdout]",
)
@click.option("--similar-to", metavar="TEXT", help="Write the lines most similar to TEXT instead, best first.")
@click.option(
    "--top", type=click.IntRange(min=1), default=10, show_default=True, help="Number of lines with --similar-to."
)
@click.option("--prefix", help="Text before every line, or the name of a prefix that the model defines, such as query.")
@options.encoder_model
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    default=64,
    show_default=True,
    help="Number of lines encoded together.",
)
@options.device
@options.threads
@options.force
@options.ray
@click.pass_context
def command(
    ctx: click.Context,
    /,
    inputs: tuple[str, ...],
    output: str | None,
    ray: str | None,
    similar_to: str | None,
    top: int,
    model: str | None,
    prefix: str | None,
    batch_size: int,
    device: str,
    threads: int | None,
    force: bool,
) -> None:
    """Turn lines into vectors, or find similar lines.

    \b
    heed embed -m minilm -i lines.txt -o lines.npy
    heed embed -m minilm < lines.txt > lines.jsonl
    heed embed -m minilm --similar-to "a man eats" < lines.txt

    Without -o, each line becomes a JSON object with its text and its vector. Pooling and normalization are the model's.
    With --similar-to, each line of output is a cosine similarity, a tab, and the line.
    """
    if similar_to is not None and output:
        raise click.UsageError("--similar-to writes lines to stdout; leave out -o.")
    is_large = ray is not None or is_url(output or "")
    if is_large and (not output or output.endswith(SUFFIX)):
        raise click.UsageError("--ray and URLs need -o: a file of JSON lines, or a directory for a file of each input.")
    path, names = find_model(model, "embed"), expand(inputs) or ("-",)
    if output is not None and is_large:
        worker = EmbeddingWorker(device, threads or 1 if ray else threads, prefix, batch_size)
        ctx.exit(_embed_large(names, output, worker, path, ray=ray, force=force))
    file = Path(output) if output else None
    if file:
        refuse_existing(file, force=force)
    from heed.models.tasks.embedder import Embedder

    with messages.timed(f"Loaded {path} for {device}"):
        embedder = Embedder.load(path, device=device, threads=threads, prefix=prefix)
    decoder = Decoder()
    windows = read_lines(names, decoder, max(WINDOW, batch_size), invitation=INVITATION)
    if similar_to is None:
        _write(embedder, windows, file, batch_size, force=force)
    else:
        _search(embedder, windows, similar_to, top, batch_size)
    warn_replaced(decoder)
    if embedder.n_cut:
        messages.warning(f"{embedder.n_cut:,} texts were cut: the model reads {embedder.max_tokens:,} tokens at most")


def _embed_large(
    names: tuple[str, ...], output: str, worker: EmbeddingWorker, model: Path, *, ray: str | None, force: bool
) -> int:
    """Embed lines of files into files of JSON lines in blocks; returns the exit status."""
    from heed.cli.batch.command import job_note, run_jobs

    make_directory(output)
    note = job_note(model, dataclasses.replace(worker, threads=None))
    window = max(WINDOW, worker.batch_size)
    jobs = [_EmbeddingJob(job.names, job.output or "", window, note) for job in plan(names, output, "lines", None)]
    return run_jobs(jobs, worker, [model], ray=ray, names=names, force=force)


class _EmbeddingJob:
    """Lines of some inputs to embed; see `heed.cli.batch.job.FileJob`."""

    position = 0

    def __init__(self, names: tuple[str, ...], output: str, window: int, note: Mapping[str, object]) -> None:
        self.output = output
        self._names, self._window, self._note = names, window, note
        self._decoder, self._n_cut = Decoder(), 0

    def blocks(self) -> "Iterator[Block]":
        lists = read_lines(self._names, self._decoder, self._window, invitation=INVITATION)
        return Numbering(self._note).blocks(lists, lambda _, texts: texts)

    def written(self, block: "Block", answer: "Answer") -> bytes:
        from heed.cli.io.vectors import json_line

        vectors, n_cut = answer.result
        self._n_cut += n_cut
        return "".join(map(json_line, block.records, vectors)).encode()

    def close(self) -> None:
        warn_replaced(self._decoder)
        if self._n_cut:
            messages.warning(f"{self.output}: {self._n_cut:,} texts were cut: they are longer than the model reads")


def _write(
    embedder: "Embedder", windows: Iterator[list[str]], output: Path | None, batch_size: int, *, force: bool
) -> None:
    """Write the vectors of lines."""
    from heed.cli.io.vectors import JsonLines, NumpyArray

    with contextlib.ExitStack() as stack:
        file = stack.enter_context(file_whole(output, force=force)) if output else None
        array = file is not None and output is not None and output.suffix == SUFFIX
        writer: JsonLines | NumpyArray = NumpyArray(file, embedder.d_model) if file and array else JsonLines(file)
        for lines in windows:
            writer.add(lines, embedder.embed(lines, batch_size))
        writer.close()


def _search(embedder: "Embedder", windows: Iterator[list[str]], text: str, top: int, batch_size: int) -> None:
    """Write the lines most similar to a text; of equally similar ones the first."""
    from heed.models.tasks.embedder import unit

    wanted = unit(embedder.embed([text]))[0]
    best: list[tuple[float, int, str]] = []
    number = 0
    for lines in windows:
        for line, similarity in zip(lines, unit(embedder.embed(lines, batch_size)) @ wanted, strict=True):
            best.append((float(similarity), -number, line))
            number += 1
        best = heapq.nlargest(top, best)
    for similarity, _, line in best:
        write(f"{similarity:.4f}\t{line}\n")
