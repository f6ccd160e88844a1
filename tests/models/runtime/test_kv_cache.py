"""Keys and values in room that is used again."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnxruntime import OrtValue

from heed.models.runtime import kv_cache as cache
from heed.models.runtime.kv_cache import KVCache

TYPES: dict[str, type[np.number]] = {"keys": np.uint8, "values": np.float32, "more": np.float32}
NAMES, H, K = list(TYPES), 2, 3
Arrays = dict[str, npt.NDArray[Any]]


class Plain:
    """The same with an array of its own under each name."""

    def __init__(self) -> None:
        self.arrays: Arrays = {}

    def begin(self, shape: tuple[int, ...]) -> None:
        self.arrays = {name: np.zeros(shape, dtype) for name, dtype in TYPES.items()}

    def keep(self, rows: npt.NDArray[np.int64]) -> None:
        self.arrays = {name: array[rows] for name, array in self.arrays.items()}

    def widen(self, n_slots: int) -> None:
        for name, array in self.arrays.items():
            more = max(0, n_slots - array.shape[2])
            self.arrays[name] = np.pad(array, ((0, 0), (0, 0), (0, more), (0, 0)))


def write(arrays: Arrays, seed: int) -> None:
    """What a graph does: numbers everywhere."""
    random = np.random.default_rng(seed)
    for name in NAMES:
        arrays[name][...] = random.uniform(0, 255, size=arrays[name].shape)


steps = st.one_of(
    st.tuples(st.just("begin"), st.integers(1, 5), st.integers(0, 4)),
    st.tuples(st.just("keep"), st.randoms(use_true_random=False), st.integers(1, 5)),
    st.tuples(st.just("widen"), st.integers(0, 9), st.just(0)),
)


@given(st.lists(steps, max_size=8))
def test_rows_and_slots_keep_what_was_written(steps: list[tuple[str, Any, int]]) -> None:
    """However often the same room gets another shape."""
    ours, plain = KVCache(TYPES, "cpu"), Plain()
    every: list[tuple[str, Any, int]] = [("begin", 3, 2), *steps]
    for number, (what, value, size) in enumerate(every):
        for side in (ours, plain):
            if what == "begin":
                side.begin((value, H, size, K))
            elif what == "widen":
                side.widen(value)
        if what == "keep":
            n_rows = len(plain.arrays["keys"])
            rows = np.array(value.sample(range(n_rows), min(size, n_rows)))
            ours.keep(rows)
            plain.keep(rows)
        found = {name: ours.values[name].numpy() for name in NAMES}
        for name in NAMES:
            np.testing.assert_array_equal(found[name], plain.arrays[name])
        write(found, number)
        write(plain.arrays, number)


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device that has copies of what it is shown."""

    class Copying:
        ortvalue_from_numpy: Callable[..., OrtValue] = staticmethod(
            lambda array, _: OrtValue.ortvalue_from_numpy(array.copy())
        )

    monkeypatch.setattr(cache, "OrtValue", Copying)


@pytest.mark.usefixtures("elsewhere")
def test_what_a_device_wrote_is_there_in_another_shape() -> None:
    ours = KVCache(dict.fromkeys(NAMES, np.float32), "cuda")
    ours.begin((3, H, 2, K))
    written = {name: ours.values[name].numpy() for name in NAMES}
    write(written, seed=1)
    ours.keep(np.array([2, 1]))
    ours.widen(4)
    for name in NAMES:
        found = ours.values[name].numpy()
        np.testing.assert_array_equal(found[:, :, :2], written[name][[2, 1]])
        assert not found[:, :, 2:].any()


def test_turned_arrays_have_their_slots_last() -> None:
    ours = KVCache({"keys": np.int8, "values": np.int8}, "cpu", turned=["keys"])
    ours.begin((2, H, 5, K))
    assert ours.values["keys"].shape() == [2, H, K, 5]
    assert ours.values["values"].shape() == [2, H, 5, K]
