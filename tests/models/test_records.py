import copy
import dataclasses
import pickle
from typing import Any, ClassVar

import pytest

from heed.models.records import record


@record(frozen=True)
class Point:
    kind: ClassVar[str] = "point"
    x: int
    y: int = 2
    names: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Plain:
    kind: ClassVar[str] = "point"
    x: int
    y: int = 2
    names: tuple[str, ...] = ()


@record(frozen=True, kw_only=True)
class Named:
    x: int


@pytest.mark.parametrize("arguments", [(1,), (1, 3), (1, 2, ("a",))])
def test_a_record_is_a_frozen_dataclass(arguments: tuple[Any, ...]) -> None:
    made, plain = Point(*arguments), Plain(*arguments)
    assert dataclasses.asdict(made) == dataclasses.asdict(plain)
    assert repr(made).replace("Point", "Plain") == repr(plain)
    assert hash(made) == hash(plain)
    assert dataclasses.replace(made, y=7) == Point(made.x, 7, made.names)
    assert made == pickle.loads(pickle.dumps(made)) == copy.deepcopy(made)
    assert made not in (plain, Point(2), None)


@pytest.mark.parametrize("name", ["x", "z"])
def test_it_does_not_change(name: str) -> None:
    made = Point(1)
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(made, name, 2)
    with pytest.raises(dataclasses.FrozenInstanceError):
        delattr(made, name)
    assert made == Point(1)


def test_its_fields_may_be_given_by_name_alone() -> None:
    with pytest.raises(TypeError):
        Named(1)  # type: ignore[call-arg]
    assert Named(x=1).x == 1
