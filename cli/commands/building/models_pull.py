"""`heed models pull` and `heed models remove`."""

import shutil
from pathlib import Path

import click

from heed.cli import messages, options
from heed.cli.command import Command
from heed.cli.commands.building import import_
from heed.models.errors import HeedError, ModelError
from heed.models.system.files import refuse_existing

ARRIVING = ".pulled"  # in the models directory: what was fetched of models that are not yet imported


@click.command(
    cls=Command,
    extra="import,hub",
    sections={
        "The model on the hub": ("revision", "gguf"),
        "The bundle": ("name", "precision", "force"),
        "A model that translates": ("src_language", "tgt_language", "prefix", "task"),
    },
)
@click.argument("model", metavar="ORG/NAME")
@click.option("--revision", help="Branch, tag or commit.  [default: the main branch, as it is now]")
@click.option("--gguf", metavar="FILE", help="The .gguf file, where there are several.")
@click.option("--name", help="Name of the model here.  [default: NAME]")
@import_.PRECISION
@import_.SRC_LANGUAGE
@import_.TGT_LANGUAGE
@import_.PREFIX
@import_.TASK
@options.force
def pull(
    model: str,
    revision: str | None,
    gguf: str | None,
    name: str | None,
    precision: str,
    src_language: str,
    tgt_language: str,
    prefix: str | None,
    task: str | None,
    force: bool,
) -> None:
    """Fetch a model from the Hugging Face hub and import it.

    \b
    heed models pull Helsinki-NLP/opus-mt-en-de --precision int8
    heed translate -m opus-mt-en-de

    Fetches only the files that the import needs, of one revision, and compares each with the hub's hash. A download
    that was interrupted continues. $HF_ENDPOINT names another hub, and $HF_TOKEN a token for models that need one. No
    other command of heed opens the network.
    """
    from heed.models.bundle import catalog

    output = catalog.models_directory() / (name or model.rpartition("/")[2])
    if output.name in catalog.available() and catalog.available()[output.name] != output:
        raise HeedError(f"{output.name}: the name of a model that comes with heed; choose another with --name")
    output.parent.mkdir(parents=True, exist_ok=True)
    refuse_existing(output, force=force, way_out="choose another name with --name, or replace it with --force")
    from heed.export.importers import hub
    from heed.export.importers.importer import import_model
    from heed.export.model_details import ModelDetails

    found = hub.find(model, revision, gguf)
    aside = output.parent / ARRIVING / f"{model.replace('/', '--')}@{found.commit}"
    messages.note(f"{model}, revision {found.commit[:12]}: {len(found.files)} files, {found.size:,} bytes")
    path = found.download(aside, lambda file: messages.note(f"Fetching {file.name}, {file.size:,} bytes"))
    messages.note("Writing the graphs and comparing them with PyTorch")
    manifest = import_model(
        path,
        output,
        precision=precision,
        details=ModelDetails(name=output.name, licence=found.licence, source=f"{model} at revision {found.commit}"),
        languages=(src_language, tgt_language),
        prefix=prefix,
        task=task,
        force=force,
    )
    shutil.rmtree(aside)
    import_.report(manifest, output.name)


@click.command(cls=Command)
@options.model_argument
@click.option("--yes", is_flag=True, help="Do not ask.")
def remove(model: str | None, yes: bool) -> None:
    """Delete a model that has a name.

    \b
    heed models remove opus-mt-en-de

    Only models in $HEED_MODELS, or in the system's directory for user data, can be removed by their name.
    """
    from heed.models.bundle import catalog

    if model is None:
        raise click.UsageError("Name the model; heed models list shows their names.")
    path = catalog.find(model)
    own = catalog.models_directory()
    if Path(model).name != model or path.parent != own:
        raise ModelError(f"{path}: not in {own}, where models have names; delete it yourself if you are sure")
    if not yes:
        click.confirm(f"Delete {path}?", abort=True, err=True)
    if path.is_symlink():
        path.unlink()
    else:
        shutil.rmtree(path)
    messages.note(f"Deleted {path}")
