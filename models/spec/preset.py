"""Presets: networks by name with their training settings; and operations on tables of networks."""

import typing
from collections.abc import Mapping
from pathlib import Path

from heed.models.errors import ModelError
from heed.models.spec.network import NetworkSpec
from heed.models.spec.positions import PositionSpec
from heed.models.spec.tables import defaults, from_table, to_table

FOLDER = Path(__file__).with_name("presets")
# The names of presets by the task they are for: each task has a folder, and each preset a file.
PRESETS = {
    task: tuple(sorted(path.stem for path in (FOLDER / task).glob("*.toml")))
    for task in ("translate", "generate", "fill")
}
TRANSLATION_PRESETS, TEXT_PRESETS, MASKED_PRESETS = PRESETS["translate"], PRESETS["generate"], PRESETS["fill"]
DEFAULTS = {"translate": "small", "denoise": "small", "generate": "gpt-tiny", "fill": "bert-tiny"}
STACKS = ("encoder", "decoder")

Table = dict[str, object]


def preset(name: str) -> dict[str, Table]:
    """The tables `network` and `train` of a preset, with values that differ from the defaults.

    In `network`, the tables `encoder` and `decoder` name the existing stacks, and `stack` applies to both.
    """
    import tomllib  # imported here, because translation does not need it

    task = next(task for task, names in PRESETS.items() if name in names)
    return tomllib.loads((FOLDER / task / f"{name}.toml").read_text("utf-8"))


def overlaid(whole: Mapping[str, object], table: Mapping[str, object]) -> Table:
    """A network's complete table overlaid with a partial one; see `preset`."""
    found = merged(whole, {key: value for key, value in table.items() if key not in ("stack", *STACKS)})
    for name in STACKS:
        if name in whole:
            found = merged(found, {name: merged(_table(table, "stack"), _table(table, name))})
    return found


def complete(table: Mapping[str, object]) -> Table:
    """A network's complete table from what differs from the defaults; see `preset`."""
    whole = defaults(NetworkSpec)
    return overlaid({key: value for key, value in whole.items() if key not in STACKS or key in table}, table)


def merged(table: Mapping[str, object], changes: Mapping[str, object]) -> Table:
    """A table merged with changes, recursively; positions of another kind start with that kind's defaults."""
    found = dict(table)
    for key, value in changes.items():
        old = found.get(key)
        if not isinstance(value, Mapping) or not isinstance(old, Mapping):
            found[key] = value
        elif value.get("kind", old.get("kind")) == old.get("kind"):
            found[key] = merged(old, value)
        else:
            kinds = {each.kind: to_table(each()) for each in typing.get_args(PositionSpec)}
            found[key] = merged(kinds.get(str(value["kind"]), {}), value) if key == "positions" else merged(old, value)
    return found


def network_spec(table: Mapping[str, object], where: str) -> NetworkSpec:
    """The network of a complete table.

    Raises:
        ModelError: Keys are unknown or missing, or a value is invalid.
    """
    from heed.models.spec import legacy

    if legacy.is_legacy(table):
        return legacy.network_spec(table, where)
    return from_table(NetworkSpec, table, where)


def sized(table: Mapping[str, object], src_size: int, tgt_size: int, *, joint: bool) -> NetworkSpec:
    """The network of a complete table, with vocabularies of these sizes.

    Args:
        table: The complete table of a network.
        src_size: Size of the encoder's vocabulary.
        tgt_size: Size of the decoder's vocabulary.
        joint: Whether they share a vocabulary; if not, embeddings are not shared or tied.

    Raises:
        ModelError: The network is impossible.
    """
    sizes = {"encoder": src_size, "decoder": tgt_size}
    changes: Table = {name: {"vocab_size": sizes[name]} for name in STACKS if name in table}
    if not joint and table.get("shared_embedding"):
        changes |= {"shared_embedding": False, "tied_output": False}
    return network_spec(merged(table, changes), "the requested network")


def _table(table: Mapping[str, object], name: str) -> Mapping[str, object]:
    found = table.get(name, {})
    if not isinstance(found, Mapping):
        raise ModelError(f"{name} must be a table, not {found!r}")
    return found
