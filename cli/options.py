"""Options that several commands share, so that they have one name and one help text."""

import math
from collections.abc import Iterable

import click
from click.shell_completion import CompletionItem

from heed.models.errors import DataError

# What heed reads from the environment; options win over it.
ENVIRONMENT = {
    "HEED_MODEL": "The model to use, by its directory or name.",
    "HEED_MODELS": "The directory of the models that have a name.",
    "HEED_DEVICE": "Where models run, cpu or cuda; training has an option of its own.",
    "HEED_THREADS": "Processor threads.",
    "NO_COLOR": "No colours, whatever its value.",
}
TEXT_FILE = click.Path(exists=True, dir_okay=False, readable=True)


class Threshold(click.ParamType[float]):
    """A number above 0, or "off": infinity."""

    name = "number"

    def convert(self, value: str | float, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Check it."""
        try:
            number = math.inf if value == "off" else float(value)
        except ValueError:
            number = math.nan
        if not number > 0:
            self.fail(f"{value!r} is neither a number above 0 nor off", param, ctx)
        return number


class Model(click.types.StringParamType):
    """A model by its directory or its name."""

    name = "model"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG002
        """Directories, which the shell knows, and names."""
        from heed.models.bundle import catalog

        names = [name for name in catalog.available() if name.startswith(incomplete)]
        return [CompletionItem(incomplete, type="dir"), *map(CompletionItem, names)]


class Pairs(click.types.StringParamType):
    """Pairs of sentences in one file or two, with a weight; by the full names of the files."""

    name = "pairs"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Refuse what names no pairs, or a file that is not there."""
        from heed.transformer.data.sources import absolute_source, parse_source

        try:
            source = parse_source(value)
        except DataError as error:
            self.fail(str(error), param, ctx)
        for path in source.paths:
            TEXT_FILE.convert(path, param, ctx)
        return absolute_source(value)


PAIRS = Pairs()
model = click.option(
    "-m",
    "--model",
    type=Model(),
    envvar="HEED_MODEL",
    show_envvar=True,
    help="A model's directory or name; without it the one that heed brings, en-de.",
)
text_model = click.option(
    "-m",
    "--model",
    type=Model(),
    envvar="HEED_MODEL",
    show_envvar=True,
    help="A model's directory or name; without it the one that heed brings for text.",
)
model_argument = click.argument("model", required=False, type=Model(), envvar="HEED_MODEL")
beam_size = click.option(
    "--beam-size",
    type=click.IntRange(min=1),
    help="Hypotheses kept; 1 is greedy.  [default: the model's, 4]",
)
length_penalty = click.option(
    "--length-penalty",
    type=click.FloatRange(min=0, max=10),
    help="α of the paper; more favours longer translations.  [default: the model's, 0.6]",
)
beam_threshold = click.option(
    "--beam-threshold",
    type=Threshold(),
    help="Drop hypotheses whose log-probability is this far below the best (nats), or off.  [default: the model's]",
)
max_length = click.option(
    "--max-length",
    type=click.IntRange(min=1),
    help="Tokens of a translation, at most.  [default: the source's and 50]",
)
repetition_penalty = click.option(
    "--repetition-penalty",
    type=click.FloatRange(min=1),
    help="Multiply the log-probabilities of tokens that came before; more than 1 makes them less likely.  [default: 1]",
)
no_repeat_ngram = click.option(
    "--no-repeat-ngram", type=click.IntRange(min=1), help="Forbid repeating any N-gram of tokens."
)
batch_size = click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    default=64,
    show_default=True,
    help="Lines decoded together.",
)
shortlist = click.option(
    "--shortlist/--no-shortlist",
    default=True,
    help="Choose among the words that a line is likely to need, or among all: slower.  [default: shortlist]",
)
split = click.option(
    "--split/--no-split",
    default=True,
    help="Translate each sentence of a line by itself, or the line as a whole.  [default: split]",
)
device = click.option(
    "--device",
    type=click.Choice(["cpu", "cuda"]),
    default="cpu",
    show_default=True,
    envvar="HEED_DEVICE",
    show_envvar=True,
    help="Where to compute.",
)
threads = click.option(
    "--threads",
    type=click.IntRange(min=1),
    envvar="HEED_THREADS",
    show_envvar=True,
    help="Processor threads; without it as many as the cores that this process may use.",
)
force = click.option("--force", is_flag=True, help="Overwrite what exists.")


def flags(ctx: click.Context, names: Iterable[str]) -> str:
    """What the user writes for these parameters of a command."""
    written = {parameter.name: parameter.opts[-1] for parameter in ctx.command.params}
    return ", ".join(written[name] for name in names)
