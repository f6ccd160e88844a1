"""Where the arrays of a network are stored."""

import io

import numpy as np
import onnx_ir as ir
import pytest

from heed.export.onnx.weights import ALIGNMENT, SMALL, Weights


def test_only_short_vectors_are_not_in_the_file() -> None:
    """A network of any size has a file: of its matrices."""
    file = io.BytesIO()
    weights = Weights(file)
    short, long = np.ones(SMALL // 4, np.float32), np.ones(SMALL // 4 + 1, np.float32)
    assert weights.tensor("short", short).numpy().tolist() == short.tolist()
    assert file.getvalue() == b""
    for name, array in (("long", long), ("matrix", np.eye(2, dtype=np.int8))):
        found = weights.tensor(name, array)
        assert isinstance(found, ir.ExternalTensor)
        assert (found.offset or 0) % ALIGNMENT == 0
        assert file.getvalue()[found.offset or 0 :] == array.tobytes()


@pytest.mark.parametrize("shape", [(3,), (3, 3)])
def test_an_array_is_stored_once(shape: tuple[int, ...]) -> None:
    file = io.BytesIO()
    weights = Weights(file)
    assert weights.find("a") is None
    first = weights.tensor("a", np.zeros(shape, np.float32))
    size = len(file.getvalue())
    assert weights.tensor("a", np.zeros(shape, np.float32)) is first
    assert weights.find("a") is first
    assert len(file.getvalue()) == size
