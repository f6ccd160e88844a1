"""`heed models`."""

import dataclasses
import json
import sys

import click

from heed.cli import messages, options
from heed.cli.command import Group
from heed.cli.loading import find_model
from heed.models.errors import ModelError


@click.group(cls=Group)
def command() -> None:
    """List, describe and verify models.

    A model is a directory made by heed export. Those in $HEED_MODELS, or where the system keeps a user's data,
    have a name, and so has the model that heed brings.
    """


@command.command("list")
def list_models() -> None:
    """List the models that have a name.

    A line each: name, languages, precision and directory, with tabs between.
    """
    from heed.models import catalog, manifest

    for name, path in catalog.available().items():
        try:
            found = manifest.read(path)
        except ModelError as error:
            messages.warning(str(error))
            continue
        languages = f"{found.src_language or '?'}-{found.tgt_language or '?'}"
        click.echo("\t".join([name, languages, found.precision, str(path)]))


@command.command()
@options.model_argument
@click.option("--json", "as_json", is_flag=True, help="Print the manifest.")
def info(model: str | None, as_json: bool) -> None:
    """Show the card of a model, or its manifest."""
    from heed.models import manifest

    path = find_model(model)
    found = manifest.read(path)
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(found), ensure_ascii=False))
        return
    card = (path / "README.md").read_text("utf-8")
    if not sys.stdout.isatty():
        click.echo(card.encode("utf-8"), nl=False)
        return
    from rich.console import Console
    from rich.markdown import Markdown

    Console().print(Markdown(card))


@command.command()
@options.model_argument
def verify(model: str | None) -> None:
    """Check the files of a model again.

    Their names, sizes and hashes, and which files the graphs would read.
    """
    from heed.models.bundle import Bundle

    path = find_model(model)
    files = Bundle(path).manifest.files
    size = sum(record.size for record in files.values())
    click.echo(f"{path}: {len(files)} files, {size:,} bytes, as they were exported")
