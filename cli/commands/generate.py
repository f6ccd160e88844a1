"""`heed generate`."""

import dataclasses
import json
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from heed.cli import messages, options
from heed.cli.command import Command
from heed.cli.io.inputs import read_lines, read_whole, warn_replaced
from heed.cli.io.records import Decoder
from heed.cli.io.streams import write
from heed.cli.loading import load_generator
from heed.models.errors import DataError, ModelError

if TYPE_CHECKING:
    from heed.models.decoding.sampling import SampleConfig
    from heed.models.tasks.generator import Generation, Generator

WINDOW = 256  # lines of a batch that are read before the first is gone on with, where so many have arrived
# What says how to draw, and so means nothing to a search.
DRAWING = ("stop", "temperature", "top_k", "top_p", "min_p", "repetition_penalty", "no_repeat_ngram", "seed")


@click.command(
    cls=Command,
    sections={
        "Input and output": ("input_", "batch", "chat", "as_json", "echo", "n", "truncate"),
        "Text": ("max_tokens", *DRAWING, "greedy", "beam_size"),
        "Running": ("model", "device", "threads"),
    },
)
@click.argument("prompt", required=False)
@click.option(
    "-i",
    "--input",
    "input_",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True),
    help="File with the prompt; - is stdin.  [default: -]",
)
@click.option("--batch", is_flag=True, help="Read a prompt a line, and write JSON objects, in order.")
@click.option("--chat", is_flag=True, help="Have a conversation.")
@click.option("--json", "as_json", is_flag=True, help="Write a JSON object for each text, when it is complete.")
@click.option("--echo/--no-echo", default=True, help="Write the prompt before its text, or not.  [default: echo]")
@click.option("-n", "n", type=click.IntRange(min=1), default=1, help="Texts for each prompt.  [default: 1]")
@click.option("--truncate", is_flag=True, help="Cut a prompt that leaves too little room, from the left.")
@click.option("--max-tokens", type=click.IntRange(min=1), help="Tokens of text.  [default: what the context holds]")
@click.option("--stop", multiple=True, help="Text that ends the generated one, and is left out. Repeat for more.")
@click.option(
    "--temperature", type=click.FloatRange(min=0), help="Below 1 likelier text, above 1 wilder.  [default: 1]"
)
@click.option("--top-k", type=click.IntRange(min=1), help="Draw among so many of the likeliest tokens.")
@click.option("--top-p", type=click.FloatRange(0, 1, min_open=True), help="Among the fewest with this probability.")
@click.option("--min-p", type=click.FloatRange(0, 1), help="Among those with this share of the likeliest's.")
@options.repetition_penalty
@options.no_repeat_ngram
@click.option("--seed", type=click.IntRange(min=0), help="The same seed gives the same text.")
@click.option("--greedy", is_flag=True, help="Always the likeliest token, as --temperature 0.")
@click.option("--beam-size", type=click.IntRange(min=1), help="Search the likeliest text with so many hypotheses.")
@options.text_model
@options.device
@options.threads
@click.pass_context
def command(
    ctx: click.Context,
    /,
    prompt: str | None,
    model: str | None,
    input_: str | None,
    beam_size: int | None,
    truncate: bool,
    echo: bool,
    as_json: bool,
    batch: bool,
    chat: bool,
    device: str,
    threads: int | None,
    **drawing: Any,
) -> None:
    """Go on with a text.

    \b
    heed generate "ROMEO:" --max-tokens 100 --seed 1
    heed generate --batch -n 4 < prompts.txt > samples.jsonl
    heed generate --chat

    Writes the prompt, which is the argument, a file or stdin less a newline at its end, and what follows it, as it is
    made. A newline is added where the text ends without one; several texts are parted by lines of "---".
    """
    _require_one_task(
        prompt=prompt is not None,
        input=input_ is not None,
        batch=batch,
        chat=chat,
        json=as_json,
        beam_size=beam_size is not None,
        n=drawing["n"] > 1,
        truncate=truncate,
        no_echo=not echo,
    )
    config = _config(beam_size, **drawing)
    if prompt is None and input_ is None and not chat and sys.stdin.isatty():
        raise click.exceptions.NoArgsIsHelpError(ctx)
    text = None if chat or batch else _prompt(prompt, input_)
    generator = load_generator(model, device=device, threads=threads)
    task = _Task(generator, config, beam_size, truncate=truncate, echo=echo)
    if chat:
        from heed.cli.io.conversation import converse

        converse(generator, config)
    elif text is None:
        _write_batch(task, input_ or "-")
    elif as_json:
        task.write_records({}, text, task.complete([text], [0])[0])
    elif beam_size is None and config.n == 1:
        task.stream(text)
    else:
        task.write_texts(text)


def _require_one_task(**given: bool) -> None:
    """Refuse what does not go together, given what was asked for, by its name in the options.

    Raises:
        UsageError: Naming two of them.
    """
    apart = [("prompt", "input"), ("prompt", "batch")]
    apart += [("chat", other) for other in given if other != "chat"]
    names = {"prompt": "a prompt", "n": "-n"}
    for pair in apart:
        if all(given[name] for name in pair):
            one, other = (names.get(name, f"--{name.replace('_', '-')}") for name in pair)
            raise click.UsageError(f"{one} and {other} do not go together; choose one.")


def _config(beam_size: int | None, *, greedy: bool, **drawing: Any) -> "SampleConfig":
    """How to draw, from the options that were given.

    Raises:
        UsageError: They do not go together, or cannot be.
    """
    from heed.models.decoding.sampling import SampleConfig, seeded

    given: dict[str, Any] = {name: value for name, value in drawing.items() if value not in (None, ())}
    needless = [f"--{name.replace('_', '-')}" for name in DRAWING if name in given]
    if beam_size is not None and given["n"] > beam_size:
        raise click.UsageError(f"-n {given['n']} needs a --beam-size of at least {given['n']}.")
    if greedy and "temperature" in given:
        raise click.UsageError("--greedy and --temperature do not go together; choose one.")
    if beam_size is not None and (needless or greedy):
        raise click.UsageError(
            f"--beam-size searches and draws nothing; leave out {' '.join(needless or ['--greedy'])}"
        )
    try:
        return seeded(SampleConfig(**({**given, "temperature": 0.0} if greedy else given)))
    except ModelError as error:
        raise click.UsageError(str(error)) from None


def _prompt(prompt: str | None, name: str | None) -> str:
    """The prompt of the argument, or of a file or stdin, less one newline at its end."""
    decoder = Decoder()
    if prompt is not None:
        text = decoder.decode(os.fsencode(prompt))
    else:
        text = read_whole(name or "-", decoder, invitation="Type a text; Ctrl-D ends it.")
        text = text.removesuffix("\n").removesuffix("\r")
    warn_replaced(decoder, "the prompt is")
    return text


@dataclasses.dataclass(frozen=True)
class _Task:
    """How prompts are gone on with, and how the texts are written."""

    generator: "Generator"
    config: "SampleConfig"
    beam_size: int | None  # None: samples are drawn
    _: dataclasses.KW_ONLY
    truncate: bool
    echo: bool

    def complete(self, prompts: Sequence[str], numbers: Sequence[int]) -> "list[list[Generation]]":
        """The texts for each prompt."""
        if self.beam_size is None:
            return self.generator.generate(prompts, self.config, truncate=self.truncate, numbers=numbers)
        from heed.models.decoding.config import DecodeConfig

        config = DecodeConfig(beam_size=self.beam_size, max_length=self.config.max_tokens)
        return self.generator.search(prompts, config, n_best=self.config.n, truncate=self.truncate)

    def stream(self, prompt: str) -> None:
        """Write a text as it is made."""
        self.generator.encode(prompt, max_tokens=self.config.max_tokens, truncate=self.truncate)  # refuses a long one
        last = prompt if self.echo else ""
        write(last)
        pieces = self.generator.stream(prompt, self.config, truncate=self.truncate)
        try:
            while True:
                last = next(pieces)
                write(last)
        except StopIteration as end:
            found: Generation = end.value
        write("" if last.endswith("\n") else "\n")
        self._note([found])

    def write_texts(self, prompt: str) -> None:
        """Write several texts, or what a search finds, when all are complete."""
        (found,) = self.complete([prompt], [0])
        texts = [prompt * self.echo + generation.text for generation in found]
        write("---\n".join(text if text.endswith("\n") else text + "\n" for text in texts))
        self._note(found)

    def write_records(self, where: dict[str, object], prompt: str, found: "list[Generation]") -> None:
        """Write texts as JSON objects, a line each."""
        drawn = {} if self.beam_size is not None or self.config.temperature == 0 else {"seed": self.config.seed}
        for number, generation in enumerate(found):
            parts = dataclasses.asdict(generation)
            record = where | {"sample": number, "prompt": prompt, "completion": parts.pop("text")} | parts | drawn
            write(json.dumps(record, ensure_ascii=False) + "\n")

    def _note(self, found: "list[Generation]") -> None:
        if any(generation.ended == "context" for generation in found):
            messages.note(f"The model's context of {self.generator.context:,} tokens is full.")


def _write_batch(task: _Task, name: str) -> None:
    """Go on with each line of a file; a line that cannot be, is told in its place and at the end."""
    n_lines, n_refused, decoder = 0, 0, Decoder()
    invitation = "Going on with each line that you type; Ctrl-D ends."
    for prompts in read_lines((name,), decoder, WINDOW, invitation=invitation):
        errors = [_refusal(task, prompt) for prompt in prompts]
        good = [i for i, error in enumerate(errors) if error is None]
        found = iter(task.complete([prompts[i] for i in good], [n_lines + i for i in good]))
        for i, (prompt, error) in enumerate(zip(prompts, errors, strict=True)):
            where: dict[str, object] = {"line": n_lines + i + 1}
            if error is None:
                task.write_records(where, prompt, next(found))
            else:
                write(json.dumps(where | {"prompt": prompt, "error": error}, ensure_ascii=False) + "\n")
        n_lines, n_refused = n_lines + len(prompts), n_refused + len(prompts) - len(good)
    warn_replaced(decoder)
    if n_refused:
        raise DataError(f"{n_refused} of {n_lines} prompts have no text; where a line has an error, it says why")


def _refusal(task: _Task, prompt: str) -> str | None:
    """Why a prompt cannot be gone on with."""
    try:
        task.generator.encode(prompt, max_tokens=task.config.max_tokens, truncate=task.truncate)
    except DataError as error:
        return str(error)
    return None
