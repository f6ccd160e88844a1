"""Sessions of ONNX Runtime, which run only on the requested device."""

import contextlib
import ctypes
import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as native  # pyright: ignore[reportAttributeAccessIssue]

from heed.models.errors import HeedError, ModelError

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
# CUDA's default, TF32, is no more precise than float16; who wants that can use float16.
OPTIONS = {"cpu": {}, "cuda": {"use_tf32": "0"}}
# Errors of ONNX Runtime for a graph it cannot load; they have no common base class.
REFUSALS = (
    native.Fail,
    native.InvalidArgument,
    native.InvalidGraph,
    native.InvalidProtobuf,
    native.NoSuchFile,
    native.NotImplemented,
    native.RuntimeException,
)
# Microseconds that idle threads spin: between two products, and while Python chooses a token (2 % of its time). Longer
# spinning would burn a core.
SPINNING = "400"
# Operators that take most of the time, or read or write keys and values; on the CPU, beside a GPU, they would be slower
# than everything on the CPU. ONNX Runtime puts shape computations on the CPU on purpose; its option
# session.disable_cpu_ep_fallback would refuse them, too, and so every graph of ours.
HEAVY = {
    *("MatMul", "FusedMatMul", "MatMulIntegerToFloat", "MatMulNBits", "Gemm", "FusedGemm", "MatMulInteger"),
    *("DynamicQuantizeMatMul", "QLinearMatMul", "GatherBlockQuantized"),
    *("GroupQueryAttention", "Attention", "MultiHeadAttention", "DecoderMaskedMultiHeadAttention", "RotaryEmbedding"),
    *("LayerNormalization", "SimplifiedLayerNormalization", "SkipLayerNormalization"),
    *("SkipSimplifiedLayerNormalization", "RMSNormalization"),
    *("LogSoftmax", "Softmax", "GatherND", "ScatterND", "Gelu", "FastGelu", "QuickGelu", "BiasGelu"),
}


def open_session(
    path: Path, device: str, threads: int, *, spinning: bool = False, model: bytes | None = None
) -> onnxruntime.InferenceSession:
    """Load a graph.

    Args:
        path: The graph's file.
        device: "cpu" or "cuda".
        threads: Number of CPU threads.
        spinning: Whether idle threads spin for a moment before they sleep: with small products, waking a thread takes
            as long as a product.
        model: The graph to load in the place of the file's; its weights are in the file's directory.

    Raises:
        ModelError: The device is unusable or does not run the whole graph, or ONNX Runtime refuses the graph.
    """
    provider = PROVIDERS[device]
    if provider not in onnxruntime.get_available_providers():
        raise ModelError(
            f"device {device!r}: this onnxruntime has no {provider}; install 'onnxruntime-gpu[cuda,cudnn]' in its "
            "place, or use --device cpu"
        )
    if device == "cuda":
        _load_cuda()
    options = _options(device, threads, spinning)
    if model is not None:
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(path.parent))
    try:
        session = onnxruntime.InferenceSession(
            path if model is None else model,
            options,
            providers=[(provider, OPTIONS[device])],
            disabled_optimizers=["SkipLayerNormFusion"],  # on a CPU, seven times slower than its two parts
            enable_fallback=0,  # it prints a failure on stdout, and falls back to the CPU
        )
    except (RuntimeError, *REFUSALS) as error:
        _refuse_shortage(error, str(path))
        if isinstance(error, REFUSALS):
            raise ModelError(f"{path}: ONNX Runtime cannot load it: {str(error).splitlines()[0]}") from None
        if device == "cpu":  # else of a provider that needs a driver
            raise
        raise _not_started(device, str(error)) from None
    if provider not in session.get_providers():  # a library is missing, which ONNX Runtime only logs
        raise _not_started(device, _missing_library())
    _require_on(device, path, session)
    return session


def run(session: onnxruntime.InferenceSession, binding: onnxruntime.IOBinding) -> None:
    """Run a graph with bound inputs and outputs.

    Raises:
        ModelError: It fails, usually because of too little memory.
    """
    with _failures_told():
        session.run_with_iobinding(binding)


def compute(
    session: onnxruntime.InferenceSession, names: Sequence[str], arrays: dict[str, npt.NDArray[Any]]
) -> list[npt.NDArray[Any]]:
    """The outputs of a graph by these names, in new memory.

    Raises:
        ModelError: See `run`.
    """
    with _failures_told():
        found: Any = session.run(list(names), arrays)
    return list(found)


@contextlib.contextmanager
def _failures_told() -> Iterator[None]:
    try:
        yield
    except (RuntimeError, *REFUSALS) as error:
        _refuse_shortage(error, "ONNX Runtime")
        reason = str(error).splitlines()[0]
        raise ModelError(f"ONNX Runtime fails: {reason}; if memory is short, use a smaller --batch-size") from None


def bind_arrays(binding: onnxruntime.IOBinding, arrays: dict[str, npt.NDArray[Any]]) -> None:
    """Bind arrays as inputs of a graph, by name."""
    for name, array in arrays.items():
        binding.bind_cpu_input(name, np.ascontiguousarray(array))


class BoundGraph:
    """A graph with bound memory, for repeated runs with new values, because binding takes time.

    Args:
        session: The graph.
        binding: Its binding, with what is already bound.
        device: Its device.
        inputs: Other inputs, by name; later runs have arrays of the same shapes and types.
        outputs: Memory for outputs, by name.
    """

    def __init__(
        self,
        session: onnxruntime.InferenceSession,
        binding: onnxruntime.IOBinding,
        device: str,
        inputs: dict[str, npt.NDArray[Any]],
        outputs: dict[str, npt.NDArray[Any]],
    ) -> None:
        self._session, self._binding, self._device = session, binding, device
        self._inputs = {name: np.array(array, order="C") for name, array in inputs.items()}
        self._outputs = outputs
        bind_arrays(binding, self._inputs)
        for name, array in outputs.items():
            binding.bind_ortvalue_output(name, onnxruntime.OrtValue.ortvalue_from_numpy(array))

    def run(self, inputs: dict[str, npt.NDArray[Any]]) -> list[npt.NDArray[Any]]:
        """The outputs, in memory that the next run overwrites.

        Raises:
            ModelError: See `run`.
        """
        for name, array in inputs.items():
            self._inputs[name][...] = array
        if self._device != "cpu":  # the device has copies of bound arrays
            bind_arrays(self._binding, self._inputs)
        run(self._session, self._binding)
        return list(self._outputs.values())


def placement(session: onnxruntime.InferenceSession) -> dict[str, list[str]]:
    """The operators that each execution provider runs."""
    found: dict[str, list[str]] = {}
    for part in session.get_provider_graph_assignment_info():
        found.setdefault(part.ep_name, []).extend(node.op_type for node in part.get_nodes())
    return found


def _options(device: str, threads: int, spinning: bool) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Planning which values share memory takes half of loading a graph; the arena reuses freed memory as well.
    options.enable_mem_reuse = device != "cpu"
    # Beyond this it looks for convolutions, and for pairs of operators that round and widen, which no graph here has:
    # a seventh of loading one.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    options.log_severity_level = 4  # no errors, for they become exceptions
    options.enable_mem_pattern = False  # keeps a plan for every input shape: memory that grows with a stream
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spinning else "0")
    options.add_session_config_entry("session.intra_op.spin_duration_us", SPINNING)
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")  # for `placement`
    return options


def _refuse_shortage(error: Exception, where: str) -> None:
    """Say of an error that the system has refused memory or threads, if it has.

    Raises:
        HeedError: It has.
    """
    words = str(error)
    if re.search(r"bad_alloc|Failed to allocate|Cannot allocate", words):
        ways_out = "free some, use a smaller --batch-size, or raise the limit (ulimit -v)"
        raise HeedError(f"{where}: out of memory; {ways_out}") from None
    if re.search(r"pthread_create|thread.*Resource temporarily unavailable", words, re.IGNORECASE):
        ways_out = "use fewer --threads, or raise the limit (ulimit -u)"
        raise HeedError(f"{where}: the system starts no more threads; {ways_out}") from None


def _load_cuda() -> None:
    """Load CUDA libraries that pip installed, which the loader does not find, before ONNX Runtime needs them."""
    onnxruntime.set_default_logger_severity(4)  # the error reports what is missing
    with contextlib.redirect_stdout(io.StringIO()):  # it would also print what is missing
        onnxruntime.preload_dlls()


def _missing_library() -> str:
    """The loader's reason why ONNX Runtime could not load its CUDA library."""
    try:
        ctypes.CDLL(str(Path(str(onnxruntime.__file__)).parent / "capi" / "libonnxruntime_providers_cuda.so"))
    except OSError as error:
        return str(error)
    return "ONNX Runtime does not say why"


def _not_started(device: str, reason: str) -> ModelError:
    # CUDA's message, within a long C++ error.
    found = re.search(r"CUDA failure \d+: [^;\n]*[^;\s]", reason)
    return ModelError(
        f"device {device!r}: {PROVIDERS[device]} could not be started ({found[0] if found else reason}); "
        "install NVIDIA's driver and 'onnxruntime-gpu[cuda,cudnn]', or use --device cpu"
    )


def _require_on(device: str, path: Path, session: onnxruntime.InferenceSession) -> None:
    """Refuse silent fallback to the CPU for operators that the device lacks, such as int8 products with CUDA."""
    elsewhere = {
        operator
        for provider, operators in placement(session).items()
        for operator in operators
        if provider != PROVIDERS[device] and operator in HEAVY
    }
    if elsewhere:
        raise ModelError(
            f"device {device!r}: {', '.join(sorted(elsewhere))} of {path} would run on the CPU (int8 runs only "
            "there); export the model with --precision float16, or use --device cpu"
        )
