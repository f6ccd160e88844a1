"""Options that several commands share, so that they have one name and one help text."""

import click

TEXT_FILE = click.Path(exists=True, dir_okay=False, readable=True)

threads = click.option(
    "--threads",
    type=click.IntRange(min=1),
    help="Processor threads.  [default: the cores this process may use]",
)
force = click.option("--force", is_flag=True, help="Overwrite what exists.")
