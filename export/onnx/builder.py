"""Building an ONNX graph: operators, constants, weights and their precision."""

import importlib.metadata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
from onnx_ir.tape import Tape

from heed.export.onnx.rowwise import quantize_rows
from heed.export.onnx.weights import Weights

OPSET = 21
IR_VERSION = 10
CONTRIB = "com.microsoft"  # ONNX Runtime's own operators
# Levels of a byte for values that are not negative, and for others, on each side of the middle.
LEVELS, SIGNED_LEVELS, MIDDLE = 255, 127, 128

Array = npt.NDArray[np.generic]
Dim = int | str  # a number, or the name of a dynamic size


class WeightColumns(NamedTuple):
    """The matrix of a product, by columns."""

    matrix: ir.Value  # int8: (D, V); else PyTorch's layout, (V, D)
    scales: ir.Value | None  # int8: (V,)


class _Rows(NamedTuple):
    """Quantized rows."""

    integers: ir.Value  # (R, D)
    scales: ir.Value  # (R, 1), or () if all rows share one
    zero: ir.Value | None  # zero point; None: 0
    is_shared: bool  # whether all rows share a scale


class GraphBuilder:
    """Builds a graph.

    Args:
        name: Name of the graph.
        weights: The weights of all graphs.
        precision: Precision of its matrix products: "float32", "float16" or "int8".
        scales: Scales of what int8 products read, by the products' names; a product without one has a scale per row.
    """

    many_rows = True  # whether products are for many rows at a time, (R, D)

    def __init__(self, name: str, weights: Weights, precision: str, scales: Mapping[str, float] | None = None) -> None:
        self.name, self.precision, self._scales = name, precision, scales or {}
        # Type of the inputs and outputs of products, and of keys and values.
        self.dtype = ir.DataType.FLOAT16 if precision == "float16" else ir.DataType.FLOAT
        self._weights = weights
        self._tape = Tape()
        self._inputs: list[ir.Value] = []
        self._outputs: list[ir.Value] = []
        self._constants: dict[str, ir.Value] = {}
        self._rows: dict[tuple[ir.Value, bool], _Rows] = {}  # quantized rows, shared by products of the same x
        self._zeros: ir.Value | None = None  # zero point 128 for each row

    def input(self, name: str, dtype: ir.DataType, shape: Sequence[Dim]) -> ir.Value:
        """Declare an input."""
        value = ir.Value(name=name, type=ir.TensorType(dtype), shape=ir.Shape(shape))
        self._inputs.append(value)
        return value

    def output(self, name: str, value: ir.Value, dtype: ir.DataType, shape: Sequence[Dim]) -> None:
        """Declare a value as an output."""
        value.name, value.type, value.shape = name, ir.TensorType(dtype), ir.Shape(shape)
        self._outputs.append(value)

    def op(
        self,
        kind: str,
        *inputs: ir.Value | None,
        domain: str = "",
        **attributes: float | list[int],
    ) -> ir.Value:
        """Apply an operator with one output."""
        return self._tape.op(kind, inputs, attributes, domain=domain)

    def range(self, x: ir.Value, axis: int) -> ir.Value:
        """0, 1, 2, … up to the size of x on an axis."""
        size = self.op("Squeeze", self.op("Shape", x, start=axis, end=axis + 1))
        return self.op("Range", self.constant(0, np.int64), size, self.constant(1, np.int64))

    def several(
        self, kind: str, *inputs: ir.Value | None, n: int, domain: str = "", **attributes: int | float | str
    ) -> Sequence[ir.Value]:
        """Apply an operator with several outputs."""
        return self._tape.op_multi_out(kind, inputs, attributes, num_outputs=n, domain=domain)

    def top(self, x: ir.Value, n_best: ir.Value) -> Sequence[ir.Value]:
        """The `n_best` largest entries of the last dimension, largest first, and their indices."""
        return self.several("TopK", x, n_best, n=2, axis=-1)

    def constant(self, value: float | list[int] | Array, dtype: npt.DTypeLike) -> ir.Value:
        """A small constant, stored in the graph."""
        array = np.asarray(value, dtype=dtype)
        name = f"{array.dtype}{array.tolist()}"
        if name not in self._constants:
            self._constants[name] = self._tape.initializer(ir.tensor(array), name=name)
        return self._constants[name]

    def floats(self, value: float | list[float] | Array) -> ir.Value:
        """A small constant in float32."""
        return self.constant(value, np.float32)  # type: ignore[arg-type]

    def integers(self, *values: int) -> ir.Value:
        """A list of integers."""
        return self.constant(list(values), np.int64)

    def weight(self, name: str, array: Array) -> ir.Value:
        """An array of the network."""
        return self._referred(name, self._weights.tensor(name, array))

    def _referred(self, name: str, tensor: ir.TensorProtocol) -> ir.Value:
        """An array of the network, which a graph has, or refers to, once."""
        if name not in self._constants:
            self._constants[name] = self._tape.initializer(tensor, name=name)
        return self._constants[name]

    def _known(self, *names: str) -> list[ir.Value] | None:
        """Arrays of the network that another graph, or this one, has asked for; None: not all of them."""
        found = [(name, tensor) for name in names if (tensor := self._weights.find(name)) is not None]
        return [self._referred(*each) for each in found] if len(found) == len(names) else None

    def narrow(self, x: ir.Value) -> ir.Value:
        """Floats in the type of products: float16 if that is the precision."""
        return x if self.dtype == ir.DataType.FLOAT else self.op("Cast", x, to=self.dtype)

    def wide(self, x: ir.Value) -> ir.Value:
        """The result of a product in float32, the type of the residual stream."""
        return x if self.dtype == ir.DataType.FLOAT else self.op("Cast", x, to=ir.DataType.FLOAT)

    def linear(
        self, x: ir.Value, name: str, matrix: Array, bias: Array | None = None, *, rectified: bool = False
    ) -> ir.Value:
        """x, (R, D), times a matrix, (V, D) in PyTorch's layout, in the graph's precision, plus a bias, (V,).

        With `rectified`, negative entries of x count as 0.
        """
        columns = self._own_columns(name, matrix)
        added = None if bias is None else self.weight(f"{name}.bias", self._stored(bias))
        return self._product(x, name, columns, added, rectified=rectified)

    def in_steps(self, x: ir.Value, name: str, matrix: Array, bias: Array | None, steps: Array) -> ir.Value:
        """`linear` in int8, divided by steps, (V,), which is folded when the graph is loaded."""
        columns = self._own_columns(name, matrix)
        added = None if bias is None else self.weight(f"{name}.bias", self._stored(bias))
        by = self.weight(f"{name}.steps", steps)
        columns = columns._replace(scales=self.op("Div", columns.scales, by))
        return self._product(x, name, columns, added and self.op("Div", added, by))

    def project(self, x: ir.Value, name: str, matrix: Array) -> ir.Value:
        """Like `linear`, in float32, with a matrix that `lookup` shares."""
        return self.product(x, name, self.columns(name, matrix))

    def product(self, x: ir.Value, name: str, columns: WeightColumns) -> ir.Value:
        """x, (R, D), times columns, (D, V), of the matrix of this name, in float32, for log-probabilities."""
        return self.wide(self._product(x, name, columns))

    def _product(
        self, x: ir.Value, name: str, columns: WeightColumns, bias: ir.Value | None = None, *, rectified: bool = False
    ) -> ir.Value:
        if columns.scales is None:
            x = self.op("Relu", x) if rectified else x
            # Fused with a transposition, so that lookup can share the matrix.
            y = self.op("FusedMatMul", x, columns.matrix, domain=CONTRIB, transB=1)
            return y if bias is None else self.op("Add", y, bias)
        rows = self._quantized(x, rectified, self._scales.get(name))
        inputs = rows.integers, columns.matrix, rows.scales, columns.scales, rows.zero
        if rows.is_shared and bias is not None:
            return self.op("MatMulIntegerToFloat", *inputs, None, bias, domain=CONTRIB)
        y = self.op("MatMulIntegerToFloat", *inputs, domain=CONTRIB)
        # The operator would multiply the bias by scales of rows.
        return y if bias is None else self.op("Add", y, bias)

    def _quantized(self, x: ir.Value, rectified: bool, scale: float | None = None) -> _Rows:
        """x quantized to 8 bits with a known scale, or one per row: a sentence's result does not depend on its batch.

        Unsigned, because the processor's instruction takes unsigned rows and signed columns. A rectified x uses all 255
        levels for positive values, and negative ones saturate at 0.
        """
        if (x, rectified) not in self._rows:
            found = self._with_own_scales(x, rectified) if scale is None else self._with_scale(x, rectified, scale)
            self._rows[x, rectified] = found
        return self._rows[x, rectified]

    def _with_scale(self, x: ir.Value, rectified: bool, scale: float) -> _Rows:
        step, zero = self.floats(scale), self.constant(0 if rectified else MIDDLE, np.uint8)
        return _Rows(self.op("QuantizeLinear", x, step, zero), step, zero, is_shared=True)

    def _with_own_scales(self, x: ir.Value, rectified: bool) -> _Rows:
        size, levels = (x, LEVELS) if rectified else (self.op("Abs", x), SIGNED_LEVELS)
        largest = self.op("Max", self.op("ReduceMax", size, self.integers(-1), keepdims=0), self.floats(1e-12))
        scales = self.op("Mul", largest, self.floats(1 / levels))
        zero = None if rectified else self.constant(MIDDLE, np.uint8)
        if zero is not None and self._zeros is None:  # R is the same throughout a graph; but `own_rows`
            self._zeros = self.op("Expand", zero, self.op("Shape", scales))
        integers = self.op("QuantizeLinear", x, scales, None if rectified else self._zeros, axis=0)
        return _Rows(integers, self.op("Unsqueeze", scales, self.integers(1)), zero, is_shared=False)

    def own_rows(self, x: ir.Value) -> ir.Value:
        """x, (N, D), for products of other rows than those of tokens, which share their zero points."""
        if self.many_rows and self.precision == "int8":
            shared, self._zeros = self._zeros, None
            self._quantized(x, rectified=False)
            self._zeros = shared
        return x

    def columns(self, name: str, matrix: Array) -> WeightColumns:
        """The columns of a matrix, (V, D) in PyTorch's layout, which `lookup` shares."""
        if self.precision != "int8":
            return WeightColumns(self.weight(name, self._stored(matrix)), None)
        stored, scales = self._int8_weight(name, matrix)
        return WeightColumns(self.op("Transpose", stored, perm=[1, 0]), scales)  # folded when the graph is loaded

    def _own_columns(self, name: str, matrix: Array) -> WeightColumns:
        """The columns of a matrix only for products; int8 is stored transposed, which saves time at every start."""
        if self.precision != "int8":
            return self.columns(name, matrix)
        return WeightColumns(*self._int8_weight(name, matrix, turned=True))

    def some_columns(self, ids: ir.Value, name: str, matrix: Array) -> WeightColumns:
        """The columns of some outputs, (N,), of a matrix of `linear`."""
        if self.precision != "int8":
            return WeightColumns(self.op("Gather", self.weight(name, self._stored(matrix)), ids), None)
        stored, scales = self._int8_weight(name, matrix)
        columns = self.op("Transpose", self.op("Gather", stored, ids), perm=[1, 0])
        return WeightColumns(columns, self.op("Gather", scales, ids))

    def output_columns(self, name: str, columns: WeightColumns, n: Dim, d: int) -> None:
        """Declare columns as outputs."""
        shape = [n, d] if columns.scales is None else [d, n]
        dtype = self.dtype if columns.scales is None else ir.DataType.INT8
        self.output(f"{name}_columns", columns.matrix, dtype, shape)
        if columns.scales is not None:
            self.output(f"{name}_scales", columns.scales, ir.DataType.FLOAT, [n])

    def input_columns(self, name: str, n: Dim, d: int) -> WeightColumns:
        """Declare columns as inputs."""
        if self.precision != "int8":
            return WeightColumns(self.input(f"{name}_columns", self.dtype, [n, d]), None)
        matrix = self.input(f"{name}_columns", ir.DataType.INT8, [d, n])
        return WeightColumns(matrix, self.input(f"{name}_scales", ir.DataType.FLOAT, [n]))

    def lookup(self, ids: ir.Value, name: str, matrix: Array, factor: float = 1.0) -> ir.Value:
        """The rows of a matrix, (V, D), for token ids of any shape, in float32, times a factor."""
        if self.precision != "int8":
            return self.times(self.wide(self.op("Gather", self.weight(name, self._stored(matrix)), ids)), factor)
        stored, scales = self._int8_weight(name, matrix)
        rows = self.op("Cast", self.op("Gather", stored, ids), to=ir.DataType.FLOAT)
        scales = self.times(self.op("Gather", scales, ids), factor)
        return self.op("Mul", rows, self.op("Unsqueeze", scales, self.integers(-1)))

    def times(self, x: ir.Value, factor: float) -> ir.Value:
        """x times a factor."""
        return x if factor == 1.0 else self.op("Mul", x, self.floats(factor))

    def _stored(self, array: Array) -> Array:
        return array.astype(self.dtype.numpy())

    def _int8_weight(self, name: str, matrix: Array, *, turned: bool = False) -> tuple[ir.Value, ir.Value]:
        """A quantized matrix, (V, D), or if `turned`, (D, V), and the scales of its rows, (V,)."""
        stored = f"{name}.int8_columns" if turned else f"{name}.int8"
        if known := self._known(stored, f"{name}.scale"):
            return known[0], known[1]
        quantized, scales = quantize_rows(np.asarray(matrix, np.float32))
        return self.weight(stored, quantized.T if turned else quantized), self.weight(f"{name}.scale", scales)

    @property
    def nodes(self) -> Sequence[ir.Node]:
        """Its operators, in their order."""
        return self._tape.nodes

    def save(self, path: Path) -> None:
        """Write the graph without its large weights, which are in a shared file."""
        graph = ir.Graph(
            self._inputs,
            self._outputs,
            nodes=self._tape.nodes,
            initializers=self._tape.initializers,
            opset_imports={"": OPSET, CONTRIB: 1},
            name=self.name,
        )
        version = importlib.metadata.version("heed")
        ir.save(
            ir.Model(graph, ir_version=IR_VERSION, producer_name="heed", producer_version=version),
            path,
        )
