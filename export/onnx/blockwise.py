"""Blockwise quantization: weights as small integers with a scale per block, for products of few rows.

One token at a time is bound by reading weights, not by multiplying, so fewer bytes are faster. ONNX Runtime's
MatMulNBits reads such blocks.
"""

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from heed.export.onnx.builder import CONTRIB, Array, GraphBuilder
from heed.export.onnx.weights import Weights
from heed.models.arrays import FloatArray
from heed.models.spec.network import NetworkSpec

BITS = {"int8": 8, "int4": 4}
# Weights per scale: the largest size that divides a row, or else the smallest. Scales are bytes to read, too: with
# blocks of 256, int4 weights are read a fifth faster than with blocks of 128.
BLOCK_SIZES = (256, 128)
# Candidates for the number of steps from 0 to the largest weight of a block; the best one is used. Four bits reach from
# -8 to 7: if the largest weight is clipped, the others are rounded more finely.
REACHES = {8: (127.0,), 4: (-8.0, -8.5, -9.0)}
INTEGER_PRODUCTS = 4  # the operator's accuracy level that quantizes rows to 8 bits, block by block


# Weights per scale in GGUF's Q4_0 and Q8_0, whose blocks go over as they are. The largest weight of a block is so many
# steps from 0, by how llama.cpp rounds: the first by default, the others where a search found a smaller error.
GIVEN_SIZE = 32
GIVEN_REACHES = {4: (-8, 7, 6, 5), 8: (127, -128, -8, 7)}
ON_GRID = 1e-3  # steps; float32 leaves 1e-5


def is_blockwise(spec: NetworkSpec, precision: str) -> bool:
    """Whether matrices are quantized blockwise: if products have few rows, or weights have four bits."""
    return precision == "int4" or (precision == "int8" and spec.encoder is None)


def block_size(columns: int) -> int:
    """The number of weights per scale in a row."""
    return next((size for size in BLOCK_SIZES if columns % size == 0), BLOCK_SIZES[-1])


def pack_blocks(matrix: FloatArray, bits: int) -> tuple[npt.NDArray[np.uint8], FloatArray]:
    """Quantize the rows of a matrix, (V, D), block by block.

    A matrix that was quantized before, in blocks of 32, keeps its integers.

    Returns:
        Integers with zero point 2^(bits - 1), (V, blocks, bytes of a block), with four bits two per byte, the lower
        half first; and scales, (V, blocks). The last block is padded with 0.
    """
    (V, D), size = matrix.shape, block_size(matrix.shape[1])
    given = _given_scales(matrix, bits)
    if given is not None:
        return _packed(matrix.reshape(V, -1, GIVEN_SIZE), given, bits), given
    n_blocks = -(-D // size)
    blocks = np.zeros((V, n_blocks * size), dtype=np.float32)
    blocks[:, :D] = matrix
    blocks = blocks.reshape(V, n_blocks, size)
    scales = _scales(blocks, bits)
    return _packed(blocks, scales, bits), scales


def _packed(blocks: FloatArray, scales: FloatArray, bits: int) -> npt.NDArray[np.uint8]:
    integers = (_rounded(blocks, scales, bits) + (1 << (bits - 1))).astype(np.uint8)
    return integers if bits == 8 else integers[..., 0::2] + 16 * integers[..., 1::2]


def _given_scales(matrix: FloatArray, bits: int) -> FloatArray | None:
    """The scale of each block of 32, where a matrix, (V, D), was quantized so before; None: it was not."""
    V, D = matrix.shape
    if D % GIVEN_SIZE:
        return None
    blocks = matrix.reshape(-1, GIVEN_SIZE)
    if len(blocks) > GIVEN_SIZE and _steps(blocks[:GIVEN_SIZE], bits) is None:  # spares a look at all of a trained one
        return None
    scales = _steps(blocks, bits)
    return None if scales is None else scales.reshape(V, -1)


def _steps(blocks: FloatArray, bits: int) -> FloatArray | None:
    """The scales by which all weights of blocks, (N, size), are whole numbers; None: of a block there is none."""
    largest = _largest(blocks)
    scales, left, middle = np.ones(len(blocks), np.float32), np.flatnonzero(largest), 1 << (bits - 1)
    for reach in GIVEN_REACHES[bits]:
        tried = largest[left] / np.float32(reach)
        numbers = blocks[left] / tried[:, None]
        whole = np.rint(numbers)
        fits = (np.abs(numbers - whole) < ON_GRID) & (-middle <= whole) & (whole < middle)
        found = fits.all(axis=1)
        scales[left[found]] = tried[found]
        left = left[~found]
    return None if len(left) else scales


def _largest(blocks: FloatArray) -> FloatArray:
    """The weight of each block, (…, size), that is farthest from 0."""
    found: FloatArray = np.take_along_axis(blocks, np.abs(blocks).argmax(axis=-1)[..., None], axis=-1)[..., 0]
    return found


def _scales(blocks: FloatArray, bits: int) -> FloatArray:
    """The scale of each block with the least squared error among the candidates."""
    largest = _largest(blocks)
    largest[largest == 0] = 1
    tried = np.stack([largest / np.float32(reach) for reach in REACHES[bits]])
    errors = [np.square(_rounded(blocks, scales, bits) * scales[..., None] - blocks).sum(axis=2) for scales in tried]
    best: FloatArray = np.take_along_axis(tried, np.argmin(errors, axis=0)[None], axis=0)[0]
    return best


def _rounded(blocks: FloatArray, scales: FloatArray, bits: int) -> FloatArray:
    middle = 1 << (bits - 1)
    return np.clip(np.rint(blocks / scales[..., None]), -middle, middle - 1)


def unpack_blocks(integers: npt.NDArray[np.uint8], scales: FloatArray, bits: int) -> FloatArray:
    """The dequantized rows, (V, D with padding)."""
    halves = np.stack([integers & 15, integers >> 4], axis=-1).reshape(*integers.shape[:2], -1)
    numbers = integers.astype(np.float32) if bits == 8 else halves.astype(np.float32)
    rows = (numbers - (1 << (bits - 1))) * scales[..., None]
    return rows.reshape(len(rows), -1)


class BlockGraphBuilder(GraphBuilder):
    """A graph with blockwise quantized matrices.

    Args:
        name: Name of the graph.
        weights: The file of weights.
        precision: "int8" or "int4".
    """

    many_rows = False

    def __init__(self, name: str, weights: Weights, precision: str) -> None:
        super().__init__(name, weights, precision)
        self._bits = BITS[precision]

    def linear(
        self, x: ir.Value, name: str, matrix: Array, bias: Array | None = None, *, rectified: bool = False
    ) -> ir.Value:
        """x, (…, D), times a matrix, (V, D) in PyTorch's layout, plus a bias, (V,)."""
        x = self.op("Relu", x) if rectified else x
        integers, scales, size = self._blocks(name, matrix)
        added = None if bias is None else self.weight(f"{name}.bias", self._stored(bias))
        V, D = matrix.shape
        return self.op(
            "MatMulNBits",
            *(x, integers, scales, None, None, added),
            domain=CONTRIB,
            K=D,
            N=V,
            bits=self._bits,
            block_size=size,
            accuracy_level=INTEGER_PRODUCTS,
        )

    def project(self, x: ir.Value, name: str, matrix: Array) -> ir.Value:
        """Like `linear`."""
        return self.linear(x, name, matrix)

    def lookup(self, ids: ir.Value, name: str, matrix: Array, factor: float = 1.0) -> ir.Value:
        """See `GraphBuilder`."""
        V, D = matrix.shape
        integers, scales, size = self._blocks(name, matrix)
        rows = self.op(
            "GatherBlockQuantized",
            self.op("Reshape", integers, self.integers(V, -1)),  # folded when the graph is loaded
            ids,
            scales,
            domain=CONTRIB,
            bits=self._bits,
            block_size=size,
            gather_axis=0,
            quantize_axis=1,
        )
        if D % size:
            rows = self.op("Slice", rows, self.integers(0), self.integers(D), self.integers(-1))
        return self.times(rows, factor)

    def _blocks(self, name: str, matrix: Array) -> tuple[ir.Value, ir.Value, int]:
        """A quantized matrix, (V, D), the scales of its blocks, and their size."""
        names = f"{name}.{self.precision}", f"{name}.scale"
        known = self._known(*names)
        if known is None:
            packed, steps = pack_blocks(np.asarray(matrix, np.float32), self._bits)
            known = [self.weight(names[0], packed), self.weight(names[1], steps)]
        integers, scales = known
        assert integers.shape is not None
        n_bytes = integers.shape[2]
        assert isinstance(n_bytes, int)
        return integers, scales, n_bytes * 8 // self._bits
