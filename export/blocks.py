"""Weights as small integers in blocks that have a scale each: for a few rows at a time, which read all weights anew.

Where one token is made after the other, time goes into reading weights and not into multiplying: the fewer bytes, the
faster. ONNX Runtime's MatMulNBits reads them in blocks.
"""

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from heed.export.graph import CONTRIB, Array, GraphBuilder
from heed.export.weights import Weights
from heed.models.search import FloatArray

BITS = {"int8": 8, "int4": 4}
BLOCK_SIZE = {"int8": 128, "int4": 32}  # weights that share a scale: the more bits, the less they need one of their own
INTEGER_PRODUCTS = 4  # of the operator's accuracy levels the one that rounds rows to 8 bits, block by block


def pack_blocks(matrix: FloatArray, bits: int, block_size: int) -> tuple[npt.NDArray[np.uint8], FloatArray]:
    """Round the rows of a matrix, (V, D), block by block, so that the largest weight of each block is met exactly.

    With four bits it is the one at -8, as there is no 8: the range is used whole (as llama.cpp's Q4_0 does).

    Returns:
        Integers about 2^(bits - 1), (V, D / block_size, bytes of a block), two to a byte where they have four bits, the
        lower half first; and scales, (V, D / block_size). What lacks in the last block is 0.
    """
    V, D = matrix.shape
    n_blocks = -(-D // block_size)
    blocks = np.zeros((V, n_blocks * block_size), dtype=np.float32)
    blocks[:, :D] = matrix
    blocks = blocks.reshape(V, n_blocks, block_size)
    middle = 1 << (bits - 1)
    largest = np.take_along_axis(blocks, np.abs(blocks).argmax(axis=2)[..., None], axis=2)[..., 0]
    steps = np.abs(largest) / (middle - 1) if bits == 8 else largest / -middle
    scales: FloatArray = np.where(steps == 0, 1, steps).astype(np.float32)
    integers = np.clip(np.rint(blocks / scales[..., None]) + middle, 0, 2 * middle - 1).astype(np.uint8)
    return (integers if bits == 8 else integers[..., 0::2] + 16 * integers[..., 1::2]), scales


def unpack_blocks(integers: npt.NDArray[np.uint8], scales: FloatArray, bits: int) -> FloatArray:
    """The rows that blocks stand for, (V, D and what fills the last block), but for their rounding."""
    halves = np.stack([integers & 15, integers >> 4], axis=-1).reshape(*integers.shape[:2], -1)
    numbers = integers.astype(np.float32) if bits == 8 else halves.astype(np.float32)
    rows = (numbers - (1 << (bits - 1))) * scales[..., None]
    return rows.reshape(len(rows), -1)


class BlockGraphBuilder(GraphBuilder):
    """A graph whose matrices are in blocks.

    Args:
        name: Of the graph.
        weights: Where its matrices are stored.
        precision: "int8" or "int4".
    """

    def __init__(self, name: str, weights: Weights, precision: str) -> None:
        super().__init__(name, weights, precision)
        self._bits, self._block_size = BITS[precision], BLOCK_SIZE[precision]

    def linear(
        self, x: ir.Value, name: str, matrix: Array, bias: Array | None = None, *, rectified: bool = False
    ) -> ir.Value:
        """x, (…, D), times a matrix, (V, D) as PyTorch stores it, plus a bias, (V,)."""
        assert not rectified, "no graph of this kind has rectified activations"
        integers, scales = self._blocks(name, matrix)
        added = None if bias is None else self.weight(f"{name}.bias", self._stored(bias))
        V, D = matrix.shape
        return self.op(
            "MatMulNBits",
            *(x, integers, scales, None, None, added),
            domain=CONTRIB,
            K=D,
            N=V,
            bits=self._bits,
            block_size=self._block_size,
            accuracy_level=INTEGER_PRODUCTS,
        )

    def lookup(self, ids: ir.Value, name: str, matrix: Array) -> ir.Value:
        """The rows of a matrix, (V, D), at token ids of any shape, in float32."""
        V, D = matrix.shape
        integers, scales = self._blocks(name, matrix)
        rows = self.op(
            "GatherBlockQuantized",
            self.op("Reshape", integers, self.integers(V, -1)),  # folded away when the graph is loaded
            ids,
            scales,
            domain=CONTRIB,
            bits=self._bits,
            block_size=self._block_size,
            gather_axis=0,
            quantize_axis=1,
        )
        if D % self._block_size == 0:
            return rows
        return self.op("Slice", rows, self.integers(0), self.integers(D), self.integers(-1))

    def _blocks(self, name: str, matrix: Array) -> tuple[ir.Value, ir.Value]:
        integers, scales = pack_blocks(matrix.astype(np.float32), self._bits, self._block_size)
        return self.weight(f"{name}.{self.precision}", integers), self.weight(f"{name}.scale", scales)
