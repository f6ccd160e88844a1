"""Options that change a network: their names, and the paths in its table that each one sets."""

from collections.abc import Mapping

from heed.models.errors import ModelError
from heed.models.spec.preset import STACKS, Table, merged

# Paths in the table, general options first; "stack" stands for each existing stack.
PATHS: Mapping[str, tuple[str, ...]] = {
    "d_model": ("d_model",),
    "dropout": ("dropout",),
    "tied": ("shared_embedding", "tied_output"),
    "n_layers": ("stack.n_layers",),
    "encoder_layers": ("encoder.n_layers",),
    "decoder_layers": ("decoder.n_layers",),
    "d_ff": ("stack.feed_forward.d_ff",),
    "activation": ("stack.feed_forward.activation",),
    "gated": ("stack.feed_forward.gated",),
    "n_heads": ("stack.attention.n_heads",),
    "n_kv_heads": ("stack.attention.n_kv_heads",),
    "d_head": ("stack.attention.d_head",),
    "norm_kind": ("stack.norm.kind",),
    "norm_placement": ("stack.norm.placement",),
    "positions": ("stack.positions.kind",),
    "context": ("stack.positions.n_positions",),
    "recurrence": ("decoder.recurrence",),
    "biases": (
        "stack.attention.biases",
        "stack.attention.output_bias",
        "stack.feed_forward.biases",
        "stack.norm.bias",
    ),
}


def changed(table: Mapping[str, object], given: Mapping[str, object]) -> Table:
    """Apply options to a network's complete table.

    Dependent values follow unless they are given: key-value heads follow query heads, the head width follows the
    network's width, and the last norm follows the placement of norms. Positions of another kind keep their number.

    Args:
        table: The complete table of a network.
        given: Values of options, by the names in `PATHS`.

    Raises:
        ModelError: An option does not apply to this network, or the width is not divisible by the heads.
    """
    found = dict(table)
    for option in (option for option in PATHS if option in given):
        for path in places(table, option):
            if option == "context" and _get(found, path) is None:
                raise ModelError("context: positions of this kind have no limit")
            if option == "context" and not (isinstance(given[option], int) and given[option] >= 1):  # type: ignore[operator]
                raise ModelError(f"context must be at least 1, not {given[option]!r}")
            found = merged(found, _nested(path, given[option]))
    for name in STACKS:
        if name in found:
            found = merged(found, {name: _followers(found, table, name, given)})
    return found


def lookup(table: Mapping[str, object], option: str) -> object:
    """The value of an option in a network's complete table; a list if encoder and decoder differ."""
    found = [_get(table, path) for path in places(table, option)]
    return found[0] if all(value == found[0] for value in found) else found


def places(table: Mapping[str, object], option: str) -> list[tuple[str, ...]]:
    """The paths of an option in a network's complete table.

    Raises:
        ModelError: It has none.
    """
    found = []
    for path in PATHS[option]:
        first, *rest = path.split(".")
        if first == "shared_embedding" and not all(name in table for name in STACKS):
            continue
        stacks = [name for name in STACKS if name in table and first in (name, "stack")]
        found += [(name, *rest) for name in stacks] or [] if first in (*STACKS, "stack") else [(first, *rest)]
    if not found:
        raise ModelError(f"{option}: the network has no {PATHS[option][0].partition('.')[0]}")
    return found


def _followers(table: Table, before: Mapping[str, object], name: str, given: Mapping[str, object]) -> Table:
    """Dependent values of a stack that follow from changed ones."""

    def old(*path: str) -> object:
        return _get(before, (name, *path))

    def new(*path: str) -> object:
        return _get(table, (name, *path))

    attention: Table = {}
    if (
        "n_heads" in given
        and "n_kv_heads" not in given
        and old("attention", "n_heads") == old("attention", "n_kv_heads")
    ):
        attention["n_kv_heads"] = new("attention", "n_heads")
    if given.keys() & {"n_heads", "d_model"} and "d_head" not in given:
        attention["d_head"] = _d_head(table["d_model"], new("attention", "n_heads"))
    norm: Table = {"last": given["norm_placement"] == "before"} if "norm_placement" in given else {}
    fit = old("positions", "n_positions")
    kept = fit is not None and "context" not in given and new("positions", "n_positions") is not None
    return {"attention": attention, "norm": norm, "positions": {"n_positions": fit} if kept else {}}


def _d_head(d_model: object, n_heads: object) -> int:
    """The head width that follows from the network's width."""
    if not isinstance(d_model, int) or not isinstance(n_heads, int) or n_heads < 1 or d_model % n_heads:
        raise ModelError(f"d_model {d_model!r} must be a multiple of n_heads {n_heads!r}, or give d_head")
    return d_model // n_heads


def _nested(path: tuple[str, ...], value: object) -> Table:
    first, *rest = path
    return {first: _nested(tuple(rest), value) if rest else value}


def _get(table: Mapping[str, object], path: tuple[str, ...]) -> object:
    """The value at a path; None if it does not exist."""
    first, *rest = path
    found = table.get(first)
    if not rest:
        return found
    return _get(found, tuple(rest)) if isinstance(found, Mapping) else None
