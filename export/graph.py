"""Building an ONNX graph: operators, constants, weights and their precision."""

import importlib.metadata
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
from onnx_ir.tape import Tape

from heed.export.quantization import quantize_rows
from heed.export.weights import Weights

OPSET = 21
IR_VERSION = 10
CONTRIB = "com.microsoft"  # ONNX Runtime's own operators

Array = npt.NDArray[np.generic]
Dim = int | str  # a number, or the name of a size that differs from run to run


class GraphBuilder:
    """A graph in the making.

    Args:
        name: Of the graph.
        weights: Where its matrices are stored.
        precision: Of its matrix products: "float32" or "int8".
    """

    def __init__(self, name: str, weights: Weights, precision: str) -> None:
        self.name, self.precision = name, precision
        self._weights = weights
        self._tape = Tape()
        self._inputs: list[ir.Value] = []
        self._outputs: list[ir.Value] = []
        self._constants: dict[str, ir.Value] = {}

    def input(self, name: str, dtype: ir.DataType, shape: Sequence[Dim]) -> ir.Value:
        """Declare an input."""
        value = ir.Value(name=name, type=ir.TensorType(dtype), shape=ir.Shape(shape))
        self._inputs.append(value)
        return value

    def output(self, name: str, value: ir.Value, dtype: ir.DataType, shape: Sequence[Dim]) -> None:
        """Declare a value an output."""
        value.name, value.type, value.shape = name, ir.TensorType(dtype), ir.Shape(shape)
        self._outputs.append(value)

    def op(
        self,
        kind: str,
        *inputs: ir.Value | None,
        domain: str = "",
        **attributes: int | float | list[int],
    ) -> ir.Value:
        """Apply an operator that has one output."""
        return self._tape.op(kind, inputs, attributes, domain=domain)

    def split(self, x: ir.Value, n_parts: int) -> Sequence[ir.Value]:
        """Cut x into equal parts of its last dimension."""
        return self._tape.op_multi_out("Split", [x], {"axis": -1, "num_outputs": n_parts}, num_outputs=n_parts)

    def top(self, x: ir.Value, n: ir.Value) -> Sequence[ir.Value]:
        """The n largest entries of the last dimension, largest first, and their indices."""
        return self._tape.op_multi_out("TopK", [x, n], {"axis": -1}, num_outputs=2)

    def constant(self, value: float | list[int] | Array, dtype: npt.DTypeLike) -> ir.Value:
        """A small constant, kept in the graph itself."""
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
        """An array kept in the file of weights."""
        if name not in self._constants:
            tensor = self._weights.tensor(name, array)
            self._constants[name] = self._tape.initializer(tensor, name=name)
        return self._constants[name]

    def linear(self, x: ir.Value, name: str, matrix: Array, bias: Array | None = None) -> ir.Value:
        """x times a matrix, (V, D) as PyTorch stores it, in the graph's precision, plus a bias, (V,)."""
        if self.precision == "int8":
            y = self._int8_product(x, name, matrix)
        else:  # fused with a transposition, so that the embedding can be looked up in the same copy
            y = self.op("FusedMatMul", x, self.weight(name, matrix), domain=CONTRIB, transB=1)
        return y if bias is None else self.op("Add", y, self.weight(f"{name}.bias", bias))

    def _int8_product(self, x: ir.Value, name: str, matrix: Array) -> ir.Value:
        """A product of 8-bit integers.

        The matrix has a scale for each output. x gets one for each row: its largest absolute value becomes 127,
        so that a sentence's result does not depend on its neighbours in the batch.
        """
        stored, scales = self._int8_weight(name, matrix)
        largest = self.op("ReduceMax", self.op("Abs", x), self.integers(-1), keepdims=1)
        scale = self.op("Mul", self.op("Max", largest, self.floats(1e-12)), self.floats(1 / 127))
        zero = self.constant(128.0, np.uint8)  # unsigned rows and signed columns: the processor's own instruction
        rows = self.op("QuantizeLinear", self.op("Div", x, scale), self.floats(1.0), zero)
        columns = self.op("Transpose", stored, perm=[1, 0])  # folded away when the graph is loaded
        # The operator's own bias would be multiplied by the rows' scales.
        return self.op("MatMulIntegerToFloat", rows, columns, scale, scales, zero, domain=CONTRIB)

    def lookup(self, ids: ir.Value, name: str, matrix: Array) -> ir.Value:
        """The rows of a matrix, (V, D), at token ids of any shape."""
        if self.precision != "int8":
            return self.op("Gather", self.weight(name, matrix), ids)
        stored, scales = self._int8_weight(name, matrix)
        rows = self.op("Cast", self.op("Gather", stored, ids), to=ir.DataType.FLOAT)
        return self.op("Mul", rows, self.op("Unsqueeze", self.op("Gather", scales, ids), self.integers(-1)))

    def _int8_weight(self, name: str, matrix: Array) -> tuple[ir.Value, ir.Value]:
        quantized, scales = quantize_rows(matrix.astype(np.float32))
        return self.weight(f"{name}.int8", quantized), self.weight(f"{name}.scale", scales)

    def save(self, path: Path) -> None:
        """Write the graph; its weights are a file of their own."""
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
