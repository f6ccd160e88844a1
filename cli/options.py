"""Options that several commands share, so that they have one name and one help text."""

from collections.abc import Iterable

import click

TEXT_FILE = click.Path(exists=True, dir_okay=False, readable=True)

model = click.option("-m", "--model", help="A model's directory or name.  [default: en-de, which heed brings]")
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
max_length = click.option(
    "--max-length",
    type=click.IntRange(min=1),
    help="Tokens of a translation, at most.  [default: the source's and 50]",
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
device = click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
threads = click.option(
    "--threads",
    type=click.IntRange(min=1),
    help="Processor threads.  [default: the cores this process may use]",
)
force = click.option("--force", is_flag=True, help="Overwrite what exists.")


def flags(ctx: click.Context, names: Iterable[str]) -> str:
    """What the user writes for these parameters of a command."""
    written = {parameter.name: parameter.opts[-1] for parameter in ctx.command.params}
    return ", ".join(written[name] for name in names)
