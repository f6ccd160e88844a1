"""Options that several commands share, with one name and one help text."""

import math
from collections.abc import Iterable
from functools import partial

import click
from click.shell_completion import CompletionItem

from heed.cli.io.locations import InputPath, OutputPath
from heed.models.errors import DataError

# Environment variables that heed reads; options override them.
ENVIRONMENT = {
    "HEED_MODEL": "Directory or name of the model.",
    "HEED_MODELS": "Directory of the models that have a name.",
    "HEED_DEVICE": "Device that runs models, cpu or cuda; not for training.",
    "HEED_THREADS": "Number of CPU threads.",
    "HEED_API_KEY": "Keys that clients of heed serve must send, with commas between.",
    "NO_COLOR": "Print no colours, whatever the value.",
}
# Parameters of the options that beam search has.
BEAM_SEARCH = ("beam_size", "beam_threshold", "length_penalty", "max_length", "repetition_penalty", "no_repeat_ngram")
TEXT_FILE = InputPath(exists=True, dir_okay=False)


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
    """A model's directory or name."""

    name = "model"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG002
        """Complete directories, which the shell lists, and names."""
        from heed.models.bundle import catalog

        names = [name for name in catalog.available() if name.startswith(incomplete)]
        return [CompletionItem(incomplete, type="dir"), *map(CompletionItem, names)]

    def split_envvar_value(self, rv: str) -> list[str]:
        """The environment names one model, whose path may have spaces."""
        return [rv]


class Pairs(click.types.StringParamType):
    """Sentence pairs in one file or two, with a weight; converted to absolute paths."""

    name = "pairs"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Refuse a malformed value and a missing file."""
        from heed.transformer.data.text.sources import absolute_source, parse_source

        try:
            source = parse_source(value)
        except DataError as error:
            self.fail(str(error), param, ctx)
        for path in source.paths:
            TEXT_FILE.convert(path, param, ctx)
        return absolute_source(value)


PAIRS = Pairs()
model_option = partial(click.option, "-m", "--model", type=Model(), envvar="HEED_MODEL", show_envvar=True)
model = model_option(help="Directory or name of the model.  [default: en-de, which comes with heed]")
models = model_option(
    multiple=True,
    help="Directory or name of the model. Repeat for an ensemble, which averages log-probabilities.  [default: en-de, "
    "which comes with heed]",
)
text_model = model_option(help="Directory or name of the model.  [default: shakespeare, which comes with heed]")
encoder_model = model_option(help="Directory or name of an encoder: BERT, RoBERTa or the like, imported or trained.")
model_argument = click.argument("model", required=False, type=Model(), envvar="HEED_MODEL")
beam_size = click.option(
    "--beam-size",
    type=click.IntRange(min=1),
    help="Number of hypotheses in beam search; 1 is greedy search.  [default: the model's, usually 4]",
)
length_penalty = click.option(
    "--length-penalty",
    type=click.FloatRange(min=0, max=10),
    help="Length penalty, α in the paper; higher favours longer translations.  [default: the model's, usually 0.6]",
)
beam_threshold = click.option(
    "--beam-threshold",
    type=Threshold(),
    help="Drop hypotheses whose log-probability is this far below the best (nats), or off.  [default: the model's]",
)
max_length = click.option(
    "--max-length",
    type=click.IntRange(min=1),
    help="Maximum number of tokens of a translation.  [default: 50 more than its source]",
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
    default=128,
    show_default=True,
    help="Number of sentences decoded together.",
)
shortlist = click.option(
    "--shortlist/--no-shortlist",
    default=True,
    help="Search only the likely tokens of the vocabulary, or all of it, which is slower.  [default: shortlist]",
)
split = click.option(
    "--split/--no-split",
    default=True,
    help="Translate each sentence of a line separately, or the line as a whole.  [default: split]",
)
device = click.option(
    "--device",
    type=click.Choice(["cpu", "cuda"]),
    default="cpu",
    show_default=True,
    envvar="HEED_DEVICE",
    show_envvar=True,
    help="Device that runs the model.",
)
threads = click.option(
    "--threads",
    type=click.IntRange(min=1),
    envvar="HEED_THREADS",
    show_envvar=True,
    help="Number of CPU threads.  [default: the cores that this process may use]",
)
ray = click.option(
    "--ray",
    metavar="ADDRESS",
    help="Work on a Ray cluster: local starts one here, auto finds the one of this machine. Needs -o; the same command "
    "continues the job.",
)
batch_output = click.option(
    "-o",
    "--output",
    type=OutputPath(),
    help="File to write, whole, .gz and .zst too; or a directory for a file of each input. The same command continues "
    "a job that was stopped.  [default: stdout]",
)
force = click.option("--force", is_flag=True, help="Overwrite an existing output.")


def flags(ctx: click.Context, names: Iterable[str]) -> str:
    """The option names of these parameters of a command."""
    written = {parameter.name: parameter.opts[-1] for parameter in ctx.command.params}
    return ", ".join(written[name] for name in names)
