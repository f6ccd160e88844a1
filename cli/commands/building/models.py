"""`heed models`."""

import json
import sys
from typing import TYPE_CHECKING

import click

from heed.cli import messages, options
from heed.cli.command import Group
from heed.cli.commands.building.models_pull import pull, remove
from heed.cli.loading import find_model
from heed.models.errors import ModelError

if TYPE_CHECKING:
    from heed.models.bundle.manifest import Manifest


@click.group(cls=Group)
def command() -> None:
    """List, describe, verify, fetch and remove models.

    \b
    heed models list
    heed models info en-de
    heed models verify ende
    heed models pull Helsinki-NLP/opus-mt-en-de

    A model is a directory made by heed export or heed import. Models in $HEED_MODELS, or in the system's directory for
    user data, have a name, and so have those that come with heed.
    """


@command.command("list")
def list_models() -> None:
    """List the models that have a name.

    \b
    heed models list
    heed models list | cut -f1

    One line each: name, languages or "text", precision and directory, separated by tabs.
    """
    from heed.models.bundle import catalog, manifest

    for name, path in catalog.available().items():
        try:
            found = manifest.read(path)
        except ModelError as error:
            messages.warning(str(error))
            continue
        click.echo("\t".join([name, _languages(found), found.precision, str(path)]))
    if problem := catalog.unreadable():
        messages.warning(f"{problem}; the models in there are not listed: set HEED_MODELS to a directory of yours")


def _languages(found: "Manifest") -> str:
    """The languages of a translation model; "text" for a language model."""
    if not (found.network.encoder and found.network.decoder):
        return "text"
    return f"{found.src_language or '?'}-{found.tgt_language or '?'}"


@command.command()
@options.model_argument
@click.option("--json", "as_json", is_flag=True, help="Print the manifest.")
def info(model: str | None, as_json: bool) -> None:
    """Show the card of a model, or its manifest.

    \b
    heed models info
    heed models info ende --json

    MODEL is a directory or a name; the default is $HEED_MODEL, or else the model that comes with heed.
    """
    from heed.models.bundle import manifest
    from heed.models.spec.tables import to_table

    path = find_model(model)
    found = manifest.read(path)
    if as_json:
        click.echo(json.dumps(to_table(found), ensure_ascii=False))
        return
    card = (path / "README.md").read_text("utf-8")
    if not sys.stdout.isatty():
        click.echo(card.encode("utf-8"), nl=False)
        return
    from rich.markdown import Markdown

    messages.console(stderr=False).print(Markdown(card))


@command.command()
@options.model_argument
def verify(model: str | None) -> None:
    """Check the files of a model.

    \b
    heed models verify ende

    Checks names, sizes and hashes, and which files the graphs read. MODEL is a directory or a name; the default is
    $HEED_MODEL, or else the model that comes with heed.
    """
    from heed.models.bundle.bundle import Bundle

    path = find_model(model)
    files = Bundle(path).manifest.files
    size = sum(record.size for record in files.values())
    click.echo(f"{path}: {len(files)} files, {size:,} bytes, as they were exported")


command.add_command(pull)
command.add_command(remove)
