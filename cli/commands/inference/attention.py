"""`heed attention`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from heed.cli import messages, options
from heed.cli.command import Command
from heed.cli.io.streams import write
from heed.cli.loading import find_model
from heed.models.system.files import refuse_existing, write_whole

if TYPE_CHECKING:
    from heed.models.tasks.attention import Attention, AttentionReader

KINDS = ("encoder", "decoder", "cross")
SUFFIXES = (".html", ".npz")
WIDTH = 80  # columns, where the output is no terminal


class Output(click.Path):
    """A file whose name tells its format."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Refuse other names."""
        if Path(str(value)).suffix.lower() not in SUFFIXES:
            self.fail(f"{value!r} ends with neither {' nor '.join(SUFFIXES)}", param, ctx)
        return super().convert(value, param, ctx)


@click.command(
    cls=Command,
    sections={
        "What is shown": ("target", "kind", "layer", "head", "rollout", "by_token"),
        "Output": ("output", "force", "as_json"),
        "Running": ("model", "device", "threads"),
    },
)
@click.argument("text")
@click.option("--target", help="Translation to analyse.  [default: the model's own]")
@click.option(
    "--kind",
    type=click.Choice(KINDS),
    help="Self-attention of the encoder or of the decoder, or attention of the decoder to the encoder "
    "(cross).  [default: encoder, or decoder where there is no encoder]",
)
@click.option("--layer", type=click.IntRange(min=1), help="Layer, counted from 1.  [default: mean of all]")
@click.option("--head", type=click.IntRange(min=1), help="Head, counted from 1.  [default: mean of all]")
@click.option(
    "--rollout", is_flag=True, help="Attention rollout: combine the layers up to --layer, or all; not for cross."
)
@click.option("--tokens", "by_token", is_flag=True, help="Show tokens instead of words.")
@click.option(
    "-o",
    "--output",
    type=Output(dir_okay=False),
    help="Write all layers and heads: a page to explore (.html), or the numbers of all tokens (.npz).",
)
@options.force
@click.option("--json", "as_json", is_flag=True, help="Write a JSON object with the numbers of all layers and heads.")
@options.model
@options.device
@options.threads
def command(
    text: str,
    target: str | None,
    kind: str | None,
    layer: int | None,
    head: int | None,
    rollout: bool,
    by_token: bool,
    output: str | None,
    force: bool,
    as_json: bool,
    model: str | None,
    **running: Any,
) -> None:
    """Show which word attends to which in a text.

    \b
    heed attention "The animal didn't cross the street because it was too tired."
    heed attention "I bought a book." --kind cross --layer 1 --head 3
    heed attention "To be, or not to be" -m shakespeare
    heed attention "The animal slept." -o attention.html

    Prints a row of shaded cells for each word: the darker a cell, the more the row's word attends to the column's. A
    row of the decoder is a word that it has read; with it, it predicts the next one.
    """
    text, target = text.strip(), target.strip() if target is not None else None
    if not text or target == "":
        raise click.UsageError("There is no text to read.")
    if output:
        refuse_existing(Path(output), force=force)
    reader, path = _load(model, **running)
    _require_existing(reader, kind, target, rollout=rollout)
    found = reader.read(text, _target(path, reader, text, target, **running))
    kind = kind or reader.kinds[0]
    layers, heads, *_ = found.weights[kind].shape
    for name, number, limit in (("--layer", layer, layers), ("--head", head, heads)):
        if number is not None and number > limit:
            raise click.UsageError(f"{name} {number}: there are {limit} in the model's {kind} attention.")
    if output:
        write_whole(Path(output), _file(found, Path(output), path))
        return
    if as_json:
        write(json.dumps(_record(found, by_token=by_token), ensure_ascii=False) + "\n")
        return
    _print(found, kind, layer, head, rollout=rollout, by_token=by_token)


def _load(model: str | None, **running: Any) -> "tuple[AttentionReader, Path]":
    from heed.models.tasks.attention import AttentionReader

    path = find_model(model)
    with messages.timed(f"Loaded {path} for {running['device']}"):
        return AttentionReader.load(path, **running), path


def _require_existing(reader: "AttentionReader", kind: str | None, target: str | None, *, rollout: bool) -> None:
    """Refuse options for what the model does not have."""
    if kind and kind not in reader.kinds:
        raise click.UsageError(f"--kind {kind}: this model has {' and '.join(reader.kinds)} attention alone.")
    if target is not None and not reader.translates:
        raise click.UsageError("--target is for models that translate, and this one does not.")
    if rollout and kind == "cross":
        raise click.UsageError("--rollout adds up the layers of one stack; leave out --kind cross.")


def _target(path: Path, reader: "AttentionReader", text: str, target: str | None, **running: Any) -> str | None:
    """The translation that the decoder reads; None where the model translates nothing."""
    if target is not None or not reader.translates:
        return target
    from heed.models.tasks.translation.translator import Translator

    with Translator.load(path, split=False, **running) as translator:
        (found,) = translator.translate([text])
    return found.text


def _file(found: "Attention", output: Path, model: Path) -> bytes:
    """The content of an output, by its name."""
    if output.suffix.lower() == ".npz":
        import io

        import numpy as np

        buffer = io.BytesIO()
        arrays: dict[str, Any] = {f"{name}_tokens": np.array(side.tokens) for name, side in found.sides.items()}
        np.savez_compressed(buffer, **(arrays | dict(found.weights)))
        return buffer.getvalue()
    from heed.cli.attention.page import page
    from heed.models.bundle import manifest

    return page(found, manifest.read(model).name).encode()


def _record(found: "Attention", *, by_token: bool) -> dict[str, object]:
    """The numbers of all kinds, layers and heads."""
    maps = {kind: found.tokens(kind) if by_token else found.words(kind) for kind in found.weights}
    attention = {
        kind: {"queries": each.queries, "keys": each.keys, "weights": each.weights.astype(float).round(5).tolist()}
        for kind, each in maps.items()
    }
    return {**found.texts, "attention": attention}


def _print(
    found: "Attention", kind: str, layer: int | None, head: int | None, *, rollout: bool, by_token: bool
) -> None:
    from heed.cli.attention.grid import chosen, grid, legend

    console = messages.console(stderr=False)
    each = found.rolled_out(kind) if rollout else found
    shown = each.tokens(kind) if by_token else each.words(kind)
    n_layers, n_heads, *_ = found.weights[kind].shape
    if rollout:
        layer, head = layer or n_layers, None
    what = "rollout up to " if rollout else ""
    layers = f"layer {layer} of {n_layers}" if layer else f"mean of {n_layers} layers"
    heads = "" if rollout else f", head {head} of {n_heads}" if head else f", mean of {n_heads} heads"
    for name, words in found.texts.items():
        write(f"{name}: {words}\n")
    unicode = console.encoding.startswith("utf")
    write(f"{kind} attention, {what}{layers}{heads}; {legend(unicode=unicode)}\n\n")
    weights = chosen(shown, layer and layer - 1, head and head - 1)
    width = console.width if console.is_terminal else WIDTH
    for line in grid(shown.queries, shown.keys, weights, width, unicode=unicode):
        console.print(line, highlight=False, soft_wrap=True)
