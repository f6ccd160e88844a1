"""Frozen dataclasses that are defined in a quarter of the time.

`dataclasses` compiles six methods for each class, 0.3 ms, and heed's start needs two dozen: a twentieth of it. Here a
class has a compiled `__init__` alone; the other methods read its fields.
"""

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

__all__ = ["record"]

if TYPE_CHECKING:
    from dataclasses import dataclass as record
else:
    Kind = TypeVar("Kind")

    def record(*, frozen: bool, kw_only: bool = False) -> Callable[[type[Kind]], type[Kind]]:
        """Make a class a frozen dataclass; see `dataclasses.dataclass`."""
        assert frozen, "a record does not change"

        def made(kind: type[Kind]) -> type[Kind]:
            kind = dataclasses.dataclass(kind, repr=False, eq=False, kw_only=kw_only)
            for method in (__repr__, __eq__, __hash__, __setattr__, __delattr__):
                setattr(kind, method.__name__, method)
            return kind

        return made

    def _fields(record: Any) -> dict[str, object]:
        return {name: record.__dict__[name] for name in record.__dataclass_fields__ if name in record.__dict__}

    def __repr__(self: Any) -> str:  # noqa: N807
        shown = ", ".join(f"{name}={value!r}" for name, value in _fields(self).items())
        return f"{type(self).__qualname__}({shown})"

    def __eq__(self: Any, other: object) -> bool:  # noqa: N807
        return _fields(self) == _fields(other) if type(self) is type(other) else NotImplemented

    def __hash__(self: Any) -> int:  # noqa: N807
        return hash(tuple(_fields(self).values()))

    def __setattr__(self: Any, name: str, value: object) -> None:  # noqa: N807
        if name in self.__dict__ or name not in self.__dataclass_fields__:
            raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")
        object.__setattr__(self, name, value)

    def __delattr__(self: Any, name: str) -> None:  # noqa: N807, ARG001
        raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")
