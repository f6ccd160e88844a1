"""Another device than the CPU, as far as a machine without one can show it: what is refused, and in which words.

The stand-ins fail as onnxruntime-gpu 1.31 did without libraries, without a driver, and without a GPU.
"""

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest
from click.testing import Result
from hypothesis import given, settings
from hypothesis import strategies as st

from heed.export.exporter import write_graphs
from heed.export.onnx.graphs import NetworkWriter
from heed.export.onnx.weights import Weights
from heed.models.errors import ModelError
from heed.models.runtime.session import HEAVY, open_session, placement
from heed.models.runtime.state import _computed
from heed.models.spec.network import NetworkSpec
from heed.models.spec.parameters import parameters
from heed.transformer.model import Transformer

Heed = Callable[..., Result]
CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
Session = onnxruntime.InferenceSession


def on_the_cpu(*arguments: Any, **options: Any) -> onnxruntime.InferenceSession:
    """What CUDA was asked for, given by the CPU."""
    assert options["providers"][0][0] == CUDA
    assert options["enable_fallback"] == 0  # else ONNX Runtime writes to stdout
    return Session(*arguments, **options | {"providers": [CPU]})


@pytest.fixture
def gpu_build(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[object], None]]:
    """An onnxruntime that was built with CUDA, whose sessions are made by what the test gives it."""

    def build(make: object) -> None:
        monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, CPU])
        monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: print("Failed to load libcublas.so.13"))
        monkeypatch.setattr(onnxruntime, "InferenceSession", make)

    yield build
    onnxruntime.set_default_logger_severity(2)  # as it was


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory, describe: Callable[..., NetworkSpec]) -> Path:
    """The graphs of a small network, a directory for each precision."""
    network, path = Transformer(describe(n_layers=1)).eval(), tmp_path_factory.mktemp("graphs")
    for precision in ("float32", "float16", "int8"):
        (path / precision).mkdir()
        write_graphs(network, precision, path / precision)
    return path


def refuse(heed: Heed, *model: object) -> str:
    """The one line that a user meets."""
    result = heed("translate", "--device", "cuda", *model, stdin=b"1 2 3\n")
    assert (result.exit_code, result.stdout) == (4, "")
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("Error: device 'cuda': ")
    return result.stderr


def test_an_onnxruntime_without_cuda(heed: Heed, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CPU])
    message = refuse(heed, "-m", bundle)
    assert f"has no {CUDA}; install 'onnxruntime-gpu[cuda,cudnn]' in its place, or use --device cpu" in message


def test_a_library_that_is_missing_is_named(heed: Heed, bundle: Path, gpu_build: Callable[[object], None]) -> None:
    """ONNX Runtime would go on with the CPU and say nothing."""
    gpu_build(on_the_cpu)
    message = refuse(heed, "-m", bundle)
    assert "libonnxruntime_providers_cuda.so: cannot open shared object file" in message
    assert "install NVIDIA's driver and 'onnxruntime-gpu[cuda,cudnn]', or use --device cpu" in message


def test_a_gpu_that_is_missing_is_told_in_cudas_words(
    heed: Heed, bundle: Path, gpu_build: Callable[[object], None]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError(
            "/onnxruntime_src/onnxruntime/core/providers/cuda/cuda_call.cc:154 std::conditional_t<THRW, void> "
            "CUDA failure 100: no CUDA-capable device is detected ; GPU=-1 ; hostname=vm ; file=/onnxruntime_src\n\n"
        )

    gpu_build(fail)
    message = refuse(heed, "-m", bundle)
    assert f"{CUDA} could not be started (CUDA failure 100: no CUDA-capable device is detected); install" in message


def test_int8_does_not_run_on_the_processor_unasked(heed: Heed, gpu_build: Callable[[object], None]) -> None:
    """The default model is in int8, for which CUDA has no product; ONNX Runtime would use the CPU's."""

    class Unable(onnxruntime.InferenceSession):  # type: ignore[misc]
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options | {"providers": [CPU]})

        def get_providers(self) -> list[str]:
            return [CUDA, CPU]

    gpu_build(Unable)
    message = refuse(heed)
    assert "MatMulIntegerToFloat" in message
    assert "(int8 runs only there); export the model with --precision float16, or use --device cpu" in message


@pytest.mark.parametrize(("operator", "allowed"), [("Unsqueeze", True), ("Concat", True), ("ScatterND", False)])
def test_shapes_alone_may_be_computed_beside_the_device(
    operator: str, allowed: bool, graphs: Path, gpu_build: Callable[[object], None]
) -> None:
    """ONNX Runtime puts them on the processor on purpose."""

    class Partly(onnxruntime.InferenceSession):  # type: ignore[misc]
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options | {"providers": [CPU]})

        def get_providers(self) -> list[str]:
            return [CUDA, CPU]

        def get_provider_graph_assignment_info(self) -> list[SimpleNamespace]:
            nodes = [node for part in super().get_provider_graph_assignment_info() for node in part.get_nodes()]
            assert any(node.op_type == operator for node in nodes)
            return [
                SimpleNamespace(ep_name=CPU if node.op_type == operator else CUDA, get_nodes=lambda node=node: [node])
                for node in nodes
            ]

    gpu_build(Partly)
    path = graphs / "float16" / "decoder.onnx"
    if allowed:
        assert operator in placement(open_session(path, "cuda", 1))[CPU]
    else:
        with pytest.raises(ModelError, match=f"{operator} of .* would run on the CPU"):
            open_session(path, "cuda", 1)


# What computes shapes and masks, looks up rows, or changes the form of an array: little work, on any device.
LIGHT = {
    *("Shape", "Gather", "Unsqueeze", "Squeeze", "Concat", "Slice", "Range", "Reshape", "Transpose", "Expand", "Split"),
    *("Constant", "Cast", "Where", "And", "Or", "Not", "Less", "Equal", "NonZero", "CumSum", "ScatterElements", "Min"),
    *("Max", "Clip", "Abs", "Add", "Sub", "Mul", "Div", "Pow", "Sqrt", "Sin", "Cos", "Tanh", "Relu", "ReduceMean"),
    *("ReduceMax", "ReduceSum", "ArgMax", "Neg", "QuantizeLinear", "TopK", "Sigmoid"),
}


@pytest.mark.parametrize("precision", ["float32", "float16", "int8", "int4"])
@settings(max_examples=10, deadline=None)
@given(st.data())
def test_every_operator_of_a_graph_is_known_to_be_heavy_or_light(
    precision: str, specs: st.SearchStrategy[NetworkSpec], data: st.DataObject
) -> None:
    """Otherwise what is heavy could run on the processor, unasked, beside another device."""
    spec = data.draw(specs.filter(lambda spec: spec.decoder is not None))
    state = {name: np.zeros(shape, np.float32) for name, shape in parameters(spec).items()}
    for graph in NetworkWriter(spec, state, precision, Weights(io.BytesIO())).graphs():
        found = {node.op_type for node in graph.nodes}
        assert found <= LIGHT | HEAVY
        assert found & HEAVY


@pytest.mark.parametrize("precision", ["float32", "float16", "int8"])
@pytest.mark.parametrize("graph", ["encoder", "decoder"])
def test_every_node_has_a_place(graph: str, precision: str, graphs: Path) -> None:
    found = placement(open_session(graphs / precision / f"{graph}.onnx", "cpu", 1))
    assert set(found) == {CPU}
    assert {"FusedMatMul", "LayerNormalization", "ScatterND"} <= set(found[CPU])


@given(st.integers(1, 6), st.integers(1, 6), st.data())
def test_each_live_token_finds_its_own_row(n_texts: int, n_beams: int, data: st.DataObject) -> None:
    """With all of them computed, what is computed stands in their order, because it is then not reordered."""
    n = n_texts * n_beams
    live = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n).filter(any))).reshape(n_texts, n_beams)
    tokens, rows = _computed(live.shape, live)
    assert (tokens[rows][live] == np.flatnonzero(live)).all()
    if len(tokens) == n:
        assert (tokens == np.arange(n)).all()
