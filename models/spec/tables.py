"""Configurations as tables of TOML and JSON files."""

import dataclasses
import types
import typing
from collections.abc import Mapping

from heed.models.errors import ModelError


class DataclassInstance(typing.Protocol):
    """Any dataclass."""

    __dataclass_fields__: typing.ClassVar[dict[str, dataclasses.Field[object]]]


Config = typing.TypeVar("Config", bound=DataclassInstance)


def from_table(kind: type[Config], table: Mapping[str, object], where: str) -> Config:
    """Make a configuration from a table of a TOML or JSON file; a field that is a configuration is a table in it.

    Keys may be absent only where a field may be None, and it is None then. Where a field may be one of several
    configurations, the key `kind` of its table says which.

    Raises:
        ModelError: Unknown or missing keys or values of a wrong type, all of them in one message.
    """
    wrong: list[str] = []
    values = _values(kind, table, "", wrong)
    if wrong:
        raise ModelError(f"{where}: {'; '.join(wrong)}")
    try:
        return _built(kind, values)
    except ModelError as error:
        raise ModelError(f"{where}: {error}") from None


def defaults(kind: type[DataclassInstance]) -> dict[str, object]:
    """The table of the fields that have a default other than None."""
    values = {field.name: field.default for field in dataclasses.fields(kind)}
    return {
        name: _plain(value) for name, value in values.items() if value is not None and value is not dataclasses.MISSING
    }


def to_table(config: DataclassInstance) -> dict[str, object]:
    """The table that `from_table` reads back; fields that are None are left out."""
    values = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    kind = getattr(type(config), "kind", None)
    tag: dict[str, object] = {"kind": kind} if isinstance(kind, str) else {}
    return tag | {name: _plain(value) for name, value in values.items() if value is not None}


def _plain(value: object) -> object:
    """A value as TOML and JSON have it."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return to_table(value)
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    return list(value) if isinstance(value, tuple) else value


Values = dict[str, object]


def _values(kind: type[DataclassInstance], table: Mapping[str, object], within: str, wrong: list[str]) -> Values:
    """The values of a table's fields, None for those that are absent; what is wrong is added to a list."""
    hints = {name: hint for name, hint in typing.get_type_hints(kind).items() if name in kind.__dataclass_fields__}
    hints = {name: hint for name, hint in hints.items() if typing.get_origin(hint) is not typing.ClassVar}
    optional = {name for name, hint in hints.items() if type(None) in typing.get_args(hint)}
    wrong += [f"unknown key {within + key!r}" for key in table if key not in hints]
    wrong += [f"missing key {within + key!r}" for key in hints if key not in table and key not in optional]
    return {key: _value(hint, table[key], within + key, wrong) if key in table else None for key, hint in hints.items()}


def _value(hint: object, value: object, key: str, wrong: list[str]) -> object:
    if typing.get_origin(hint) is Mapping and isinstance(value, Mapping):
        kind = typing.get_args(hint)[1]
        return {name: _value(kind, each, f"{key}.{name}", wrong) for name, each in value.items()}
    nested = [option for option in (hint, *typing.get_args(hint)) if dataclasses.is_dataclass(option)]
    if nested and isinstance(value, Mapping):
        return _nested(typing.cast("list[type[DataclassInstance]]", nested), value, key, wrong)
    if not _fits(hint, value):
        wrong.append(f"{key} must be {_words(hint)}, not {value!r}")
    return tuple(value) if isinstance(value, list) else value


def _nested(options: list[type[DataclassInstance]], table: Mapping[str, object], key: str, wrong: list[str]) -> object:
    """A configuration within another: its type and its values, to be built when all values are known to be right."""
    kinds = {getattr(option, "kind", ""): option for option in options}
    chosen = options[0] if len(options) == 1 else kinds.get(str(table.get("kind")))
    if chosen is None:
        wrong.append(f"{key}.kind must be one of {', '.join(map(repr, kinds))}, not {table.get('kind')!r}")
        return None
    inner = {name: value for name, value in table.items() if name != "kind" or len(options) == 1}
    return _Unbuilt(chosen, _values(chosen, inner, f"{key}.", wrong))


class _Unbuilt(typing.NamedTuple):
    kind: type[DataclassInstance]
    values: Values


def _built(kind: type[Config], values: Values) -> Config:
    return kind(**{name: _whole(value) for name, value in values.items()})


def _whole(value: object) -> object:
    if isinstance(value, _Unbuilt):
        return _built(*value)
    return {name: _whole(each) for name, each in value.items()} if isinstance(value, dict) else value


def _fits(hint: object, value: object) -> bool:
    """Whether a value read from TOML or JSON can stand in a field of this type."""
    origin = typing.get_origin(hint)
    if origin is tuple:
        return isinstance(value, (list, tuple)) and all(_fits(typing.get_args(hint)[0], item) for item in value)
    if origin in (types.UnionType, typing.Union):
        return any(_fits(option, value) for option in typing.get_args(hint))
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, typing.cast("type", origin or hint))


def _words(hint: object) -> str:
    """A type as a user would say it."""
    if any(dataclasses.is_dataclass(option) for option in (hint, *typing.get_args(hint))):
        return "a table"
    names = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
    options = [option for option in typing.get_args(hint) if option is not type(None)]
    if typing.get_origin(hint) is tuple:
        return "a list"
    return names.get(typing.cast("type", options[0] if options else hint), str(hint))
