"""Weights as small integers in blocks that have a scale each: for a few rows at a time, which read all weights anew.

Where one token is made after the other, time goes into reading weights and not into multiplying: the fewer bytes, the
faster. ONNX Runtime's MatMulNBits reads them in blocks.
"""

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from heed.export.onnx.builder import CONTRIB, Array, GraphBuilder
from heed.export.onnx.weights import Weights
from heed.models.arrays import FloatArray

BITS = {"int8": 8, "int4": 4}
# Weights of a row that share a scale, of which the largest that divides the row is taken, or else the smallest. Scales
# are bytes to be read too: in blocks of 256, four bits are read a fifth faster than in blocks of 128.
BLOCK_SIZES = (256, 128)
# Steps from 0 to the largest weight of a block, of which the best are taken. Four bits reach from -8 to 7: where the
# largest weight is cut off, the others are rounded more finely.
REACHES = {8: (127.0,), 4: (-8.0, -8.5, -9.0)}
INTEGER_PRODUCTS = 4  # of the operator's accuracy levels the one that rounds rows to 8 bits, block by block


def block_size(columns: int) -> int:
    """How many weights of a row share a scale."""
    return next((size for size in BLOCK_SIZES if columns % size == 0), BLOCK_SIZES[-1])


def pack_blocks(matrix: FloatArray, bits: int) -> tuple[npt.NDArray[np.uint8], FloatArray]:
    """Round the rows of a matrix, (V, D), block by block.

    Returns:
        Integers about 2^(bits - 1), (V, blocks, bytes of a block), two to a byte where they have four bits, the lower
        half first; and scales, (V, blocks). What lacks in the last block is 0.
    """
    (V, D), size = matrix.shape, block_size(matrix.shape[1])
    n_blocks = -(-D // size)
    blocks = np.zeros((V, n_blocks * size), dtype=np.float32)
    blocks[:, :D] = matrix
    blocks = blocks.reshape(V, n_blocks, size)
    scales = _scales(blocks, bits)
    integers = (_rounded(blocks, scales, bits) + (1 << (bits - 1))).astype(np.uint8)
    return (integers if bits == 8 else integers[..., 0::2] + 16 * integers[..., 1::2]), scales


def _scales(blocks: FloatArray, bits: int) -> FloatArray:
    """The scale of each block that rounds it with the least squared error, of those that are tried."""
    largest = np.take_along_axis(blocks, np.abs(blocks).argmax(axis=2)[..., None], axis=2)[..., 0]
    largest[largest == 0] = 1
    tried = np.stack([largest / np.float32(reach) for reach in REACHES[bits]])
    errors = [np.square(_rounded(blocks, scales, bits) * scales[..., None] - blocks).sum(axis=2) for scales in tried]
    best: FloatArray = np.take_along_axis(tried, np.argmin(errors, axis=0)[None], axis=0)[0]
    return best


def _rounded(blocks: FloatArray, scales: FloatArray, bits: int) -> FloatArray:
    middle = 1 << (bits - 1)
    return np.clip(np.rint(blocks / scales[..., None]), -middle, middle - 1)


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

    many_rows = False

    def __init__(self, name: str, weights: Weights, precision: str) -> None:
        super().__init__(name, weights, precision)
        self._bits = BITS[precision]

    def linear(
        self, x: ir.Value, name: str, matrix: Array, bias: Array | None = None, *, rectified: bool = False
    ) -> ir.Value:
        """x, (…, D), times a matrix, (V, D) as PyTorch stores it, plus a bias, (V,)."""
        x = self.op("Relu", x) if rectified else x
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
            block_size=block_size(D),
            accuracy_level=INTEGER_PRODUCTS,
        )

    def project(self, x: ir.Value, name: str, matrix: Array) -> ir.Value:
        """As `linear`."""
        return self.linear(x, name, matrix)

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
            block_size=block_size(D),
            gather_axis=0,
            quantize_axis=1,
        )
        if D % block_size(D) == 0:
            return rows
        return self.op("Slice", rows, self.integers(0), self.integers(D), self.integers(-1))

    def _blocks(self, name: str, matrix: Array) -> tuple[ir.Value, ir.Value]:
        integers, scales = pack_blocks(matrix.astype(np.float32), self._bits)
        return self.weight(f"{name}.{self.precision}", integers), self.weight(f"{name}.scale", scales)
