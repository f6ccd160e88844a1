"""`heed generate`."""

import dataclasses
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from heed.cli import messages, options
from heed.cli.batch.prompts import PromptJob, json_lines
from heed.cli.batch.workers.generation import GenerationWorker
from heed.cli.command import Command
from heed.cli.io.inputs import read_whole, warn_replaced
from heed.cli.io.locations import InputFile, expand
from heed.cli.io.records import Decoder
from heed.cli.io.streams import write
from heed.cli.jobs import make_directory, plan
from heed.cli.loading import find_model, load_generator
from heed.models.errors import ModelError

if TYPE_CHECKING:
    from heed.models.decoding.sampling import SampleConfig
    from heed.models.tasks.generator import Generation, Generator

# Options of sampling, which have no meaning for beam search.
SAMPLING = ("stop", "temperature", "top_k", "top_p", "min_p", "repetition_penalty", "no_repeat_ngram", "seed")


@click.command(
    cls=Command,
    sections={
        "Input and output": ("inputs", "batch", "output", "force", "as_json", "echo", "n", "truncate"),
        "Conversations": ("chat", "system"),
        "Text": ("max_tokens", *SAMPLING, "greedy", "beam_size"),
        "Running": ("model", "device", "threads", "ray"),
    },
)
@click.argument("prompt", required=False)
@click.option(
    "-i",
    "--input",
    "inputs",
    multiple=True,
    type=InputFile(),
    help="File with the prompt; - is stdin. With --batch also several files, and patterns of files.  [default: -]",
)
@click.option("--batch", is_flag=True, help="Read one prompt per line and write JSON objects, in order.")
@options.batch_output
@click.option("--chat", is_flag=True, help="Hold a conversation.")
@click.option("--system", help="Instructions to the model before a conversation, if its chat template takes any.")
@click.option("--json", "as_json", is_flag=True, help="Write a JSON object for each complete text.")
@click.option(
    "--echo/--no-echo", default=True, help="Write the prompt before its continuation, or not.  [default: echo]"
)
@click.option("-n", "n", type=click.IntRange(min=1), default=1, help="Number of texts for each prompt.  [default: 1]")
@click.option("--truncate", is_flag=True, help="Drop the beginning of a prompt that is too long for the context.")
@click.option(
    "--max-tokens",
    type=click.IntRange(min=1),
    help="Maximum number of tokens to generate.  [default: the rest of the context]",
)
@click.option("--stop", multiple=True, help="Stop before this text. Repeat for more.")
@click.option(
    "--temperature",
    type=click.FloatRange(min=0),
    help="Divide logits by X before sampling: lower is more conservative.  [default: 1]",
)
@click.option("--top-k", type=click.IntRange(min=1), help="Sample from the N most probable tokens.")
@click.option(
    "--top-p",
    type=click.FloatRange(0, 1, min_open=True),
    help="Sample from the smallest set of tokens whose probability reaches X (nucleus sampling).",
)
@click.option("--min-p", type=click.FloatRange(0, 1), help="Drop tokens below X times the top token's probability.")
@options.repetition_penalty
@options.no_repeat_ngram
@click.option(
    "--seed", type=click.IntRange(min=0), help="Seed of the random numbers; the same seed gives the same text."
)
@click.option("--greedy", is_flag=True, help="Always take the most probable token, as with --temperature 0.")
@click.option(
    "--beam-size",
    type=click.IntRange(min=1),
    help="Search for the most probable text with N hypotheses instead of sampling.",
)
@options.text_model
@options.device
@options.threads
@options.ray
@options.force
@click.pass_context
def command(
    ctx: click.Context,
    /,
    prompt: str | None,
    model: str | None,
    inputs: tuple[str, ...],
    output: str | None,
    ray: str | None,
    force: bool,
    beam_size: int | None,
    truncate: bool,
    device: str,
    threads: int | None,
    **asked: Any,
) -> None:
    """Continue a text.

    \b
    heed generate "ROMEO:" --max-tokens 100 --seed 1
    heed generate --batch -n 4 < prompts.txt > samples.jsonl
    heed generate --chat

    The prompt is the argument, a file or stdin, without a newline at its end. Writes it and its continuation as they
    are generated, and a newline if the text ends without one. Lines of "---" separate several texts.
    """
    _refuse_conflicts(ctx.params)
    names, chat, batch = expand(inputs), asked["chat"], asked["batch"]
    _require_batch(names, output, batch=batch, ray=ray)
    config = _config(beam_size, **{name: asked[name] for name in ("n", "max_tokens", "greedy", *SAMPLING)})
    if prompt is None and not names and not chat and sys.stdin.isatty():
        raise click.exceptions.NoArgsIsHelpError(ctx)
    if ray is not None:
        threads = threads or 1
    worker = GenerationWorker(device, threads, config, beam_size, truncate)
    if output is not None:
        _require_seed(worker, given=asked["seed"])
        ctx.exit(_write_files(names or ("-",), output, worker, find_model(model, "generate"), ray=ray, force=force))
    text = None if chat or batch else _prompt(prompt, *names)
    generator = load_generator(model, device=device, threads=threads)
    task = _Task(generator, worker, asked["echo"])
    if chat:
        from heed.cli.io.conversation import converse

        converse(generator, config, asked["system"])
    elif text is None:
        _write_batch(task, names or ("-",))
    else:
        task.write(text, as_json=asked["as_json"])


def _refuse_conflicts(asked: dict[str, Any]) -> None:
    """Refuse options that exclude each other.

    Raises:
        UsageError: Two of them were given, or instructions without a conversation.
    """
    given = {
        "a prompt": asked["prompt"] is not None,
        "--input": asked["inputs"],
        "--batch": asked["batch"],
        "--json": asked["as_json"],
        "--beam-size": asked["beam_size"],
        "-n": asked["n"] > 1,
        "--truncate": asked["truncate"],
        "--no-echo": not asked["echo"],
        "--output": asked["output"] is not None,
        "--ray": asked["ray"] is not None,
    }
    exclusive = [("a prompt", "--input"), ("a prompt", "--batch")]
    if asked["chat"]:
        exclusive += [("--chat", option) for option in given]
    for one, other in exclusive:
        if given.get(one, True) and given[other]:
            raise click.UsageError(f"{one} and {other} exclude each other; choose one.")
    if asked["system"] is not None and not asked["chat"]:
        raise click.UsageError("--system is for a conversation; give --chat, too.")


def _require_batch(names: tuple[str, ...], output: str | None, *, batch: bool, ray: str | None) -> None:
    """Refuse what only many prompts may have.

    Raises:
        UsageError: Names it.
    """
    wrong = {
        "-o needs --batch; without it, the text goes to stdout.": output is not None and not batch,
        "--ray needs --batch, and -o: a file, or a directory for a file of each input.": ray and output is None,
        "Several files need --batch.": len(names) > 1 and not batch,
    }
    for message, is_wrong in wrong.items():
        if is_wrong:
            raise click.UsageError(message)


def _require_seed(worker: GenerationWorker, given: int | None) -> None:
    """Refuse to draw the random numbers of a job by chance, because it may be continued.

    Raises:
        UsageError: There is no seed.
    """
    if worker.seed is not None and given is None:
        raise click.UsageError("-o needs --seed, or --greedy: a job that is continued must draw the same numbers.")


def _config(beam_size: int | None, *, greedy: bool, **asked: Any) -> "SampleConfig":
    """The settings of sampling, from the options that were given.

    Raises:
        UsageError: They exclude each other, or a value is impossible.
    """
    from heed.models.decoding.sampling import SampleConfig, seeded

    given: dict[str, Any] = {name: value for name, value in asked.items() if value not in (None, ())}
    needless = [f"--{name.replace('_', '-')}" for name in SAMPLING if name in given]
    if beam_size is not None and given["n"] > beam_size:
        raise click.UsageError(f"-n {given['n']} needs a --beam-size of at least {given['n']}.")
    if greedy and "temperature" in given:
        raise click.UsageError("--greedy and --temperature exclude each other; choose one.")
    if beam_size is not None and (needless or greedy):
        raise click.UsageError(
            f"--beam-size searches and does not sample; leave out {' '.join(needless or ['--greedy'])}"
        )
    try:
        return seeded(SampleConfig(**({**given, "temperature": 0.0} if greedy else given)))
    except ModelError as error:
        raise click.UsageError(str(error)) from None


def _prompt(prompt: str | None, name: str = "-") -> str:
    """The prompt from the argument, a file or stdin, without one newline at its end."""
    decoder = Decoder()
    if prompt is not None:
        text = decoder.decode(os.fsencode(prompt))
    else:
        text = read_whole(name, decoder, invitation="Type a text; Ctrl-D ends it.")
        text = text.removesuffix("\n").removesuffix("\r")
    warn_replaced(decoder, "the prompt is")
    return text


@dataclasses.dataclass(frozen=True)
class _Task:
    """How prompts are continued, and how the texts are written."""

    generator: "Generator"
    worker: GenerationWorker  # how
    echo: bool

    def complete(self, prompt: str) -> "list[Generation]":
        """The texts for a prompt.

        Raises:
            DataError: It is longer than the context.
        """
        (found,) = self.worker.complete(self.generator, [prompt], [0])
        return found

    def write(self, prompt: str, *, as_json: bool) -> None:
        """Write the texts for a prompt; one that is sampled alone is written as it is generated."""
        if as_json:
            write(json_lines({}, prompt, self.complete(prompt), self.worker.seed))
        elif self.worker.beam_size is None and self.worker.config.n == 1:
            self._stream(prompt)
        else:
            self._write_texts(prompt)

    def _stream(self, prompt: str) -> None:
        """Write a text as it is generated."""
        config, truncate = self.worker.config, self.worker.truncate
        self.generator.encode(prompt, max_tokens=config.max_tokens, truncate=truncate)  # refuses a long prompt
        last = prompt if self.echo else ""
        write(last)
        pieces = self.generator.stream(prompt, config, truncate=truncate)
        try:
            while True:
                last = next(pieces)
                write(last)
        except StopIteration as end:
            found: Generation = end.value
        write("" if last.endswith("\n") else "\n")
        self._note([found])

    def _write_texts(self, prompt: str) -> None:
        """Write several texts, or those of a beam search, when all are complete."""
        found = self.complete(prompt)
        texts = [prompt * self.echo + generation.text for generation in found]
        write("---\n".join(text if text.endswith("\n") else text + "\n" for text in texts))
        self._note(found)

    def _note(self, found: "list[Generation]") -> None:
        if any(generation.ended == "context" for generation in found):
            messages.note(f"The model's context of {self.generator.context:,} tokens is full.")


def _write_batch(task: _Task, names: tuple[str, ...]) -> None:
    """Continue each line of files, as soon as it has arrived."""
    job = PromptJob(names, "", task.worker.seed, {})
    for block in job.blocks():
        write(job.written(block, task.worker.answer(task.generator, block.request)).decode())
    job.close()


def _write_files(
    names: tuple[str, ...], output: str, worker: GenerationWorker, model: Path, *, ray: str | None, force: bool
) -> int:
    """Continue each line of files into files, here or on a Ray cluster; returns the exit status."""
    from heed.cli.batch.command import job_note, run_jobs

    make_directory(output)
    note = job_note(model, dataclasses.replace(worker, threads=None))
    jobs = [PromptJob(job.names, job.output or "", worker.seed, note) for job in plan(names, output, "lines", None)]
    return run_jobs(jobs, worker, [model], ray=ray, names=names, force=force)
