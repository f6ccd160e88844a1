"""A graph loaded in ONNX Runtime, on the device that was asked for and on no other."""

import contextlib
import ctypes
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as native  # pyright: ignore[reportAttributeAccessIssue]

from heed.models.errors import HeedError, ModelError

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
# Products of float32 in TF32, CUDA's default, are no more precise than in float16; who wants that has float16.
OPTIONS = {"cpu": {}, "cuda": {"use_tf32": "0"}}
# What ONNX Runtime raises for a graph it cannot load; they share no base of their own.
REFUSALS = (
    native.Fail,
    native.InvalidArgument,
    native.InvalidGraph,
    native.InvalidProtobuf,
    native.NoSuchFile,
    native.NotImplemented,
    native.RuntimeException,
)
# Microseconds: from one product to the next, and from one token to the next while Python chooses it (2 % of a token).
# Threads that idle for longer must not burn a core.
SPINNING = "400"
# Where the time goes, and what reads or writes keys and values: on another device than the rest these would be slower
# than on a processor alone. What computes shapes, ONNX Runtime puts on the processor on purpose, also beside CUDA; its
# own option session.disable_cpu_ep_fallback would refuse that too, and so every graph of ours.
HEAVY = {
    *("MatMul", "FusedMatMul", "MatMulIntegerToFloat", "MatMulNBits", "Gemm", "FusedGemm", "MatMulInteger"),
    *("DynamicQuantizeMatMul", "QLinearMatMul", "GatherBlockQuantized"),
    *("GroupQueryAttention", "Attention", "MultiHeadAttention", "DecoderMaskedMultiHeadAttention", "RotaryEmbedding"),
    *("LayerNormalization", "SimplifiedLayerNormalization", "SkipLayerNormalization"),
    *("SkipSimplifiedLayerNormalization", "RMSNormalization"),
    *("LogSoftmax", "Softmax", "ScatterND", "Gelu", "FastGelu", "QuickGelu", "BiasGelu"),
}


def open_session(path: Path, device: str, threads: int, *, spinning: bool = False) -> onnxruntime.InferenceSession:
    """Load a graph.

    Args:
        path: Its file.
        device: "cpu" or "cuda".
        threads: Processor threads.
        spinning: Whether a thread that has done its share looks out for more for a moment before it sleeps: where
            products are small, waking it takes as long as one of them.

    Raises:
        ModelError: The device cannot be used or does not run all of the graph, or ONNX Runtime refuses the graph.
    """
    provider = PROVIDERS[device]
    if provider not in onnxruntime.get_available_providers():
        raise ModelError(
            f"device {device!r}: this onnxruntime has no {provider}; install 'onnxruntime-gpu[cuda,cudnn]' in its "
            "place, or use --device cpu"
        )
    if device == "cuda":
        _load_cuda()
    try:
        session = onnxruntime.InferenceSession(
            path,
            _options(device, threads, spinning),
            providers=[(provider, OPTIONS[device])],
            disabled_optimizers=["SkipLayerNormFusion"],  # on a CPU seven times slower than its two parts
            enable_fallback=0,  # which says on stdout that it fails, and goes on with the CPU
        )
    except (RuntimeError, *REFUSALS) as error:
        _refuse_shortage(error, str(path))
        if isinstance(error, REFUSALS):
            raise ModelError(f"{path}: ONNX Runtime cannot load it: {str(error).splitlines()[0]}") from None
        if device == "cpu":  # else of a provider that needs a driver
            raise
        raise _not_started(device, str(error)) from None
    if provider not in session.get_providers():  # a library is missing; ONNX Runtime only logs that
        raise _not_started(device, _missing_library())
    _require_on(device, path, session)
    return session


def run(session: onnxruntime.InferenceSession, binding: onnxruntime.IOBinding) -> None:
    """Run a graph on what is bound.

    Raises:
        ModelError: It fails, for want of memory above all.
    """
    try:
        session.run_with_iobinding(binding)
    except (RuntimeError, *REFUSALS) as error:
        _refuse_shortage(error, "ONNX Runtime")
        reason = str(error).splitlines()[0]
        raise ModelError(f"ONNX Runtime fails: {reason}; if memory is short, use a smaller --batch-size") from None


def bind_arrays(binding: onnxruntime.IOBinding, arrays: dict[str, npt.NDArray[Any]]) -> None:
    """Let a graph read arrays, by the names of its inputs."""
    for name, array in arrays.items():
        binding.bind_cpu_input(name, np.ascontiguousarray(array))


class BoundGraph:
    """A graph bound to memory, to be run again and again with other numbers in it: binding anew takes its time.

    Args:
        session: The graph.
        binding: Of it, with what is bound already.
        device: Where it runs.
        inputs: What else it reads, by name. Later runs have arrays of the same shapes and types.
        outputs: Memory for what is wanted of it, by name.
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
        """The outputs, in memory that the next run writes to.

        Raises:
            ModelError: See `run`.
        """
        for name, array in inputs.items():
            self._inputs[name][...] = array
        if self._device != "cpu":  # which has copies of what was bound
            bind_arrays(self._binding, self._inputs)
        run(self._session, self._binding)
        return list(self._outputs.values())


def placement(session: onnxruntime.InferenceSession) -> dict[str, list[str]]:
    """The operators of the nodes that each execution provider runs."""
    found: dict[str, list[str]] = {}
    for part in session.get_provider_graph_assignment_info():
        found.setdefault(part.ep_name, []).extend(node.op_type for node in part.get_nodes())
    return found


def _options(device: str, threads: int, spinning: bool) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # To plan which values may share memory takes half of loading a graph; the arena gives freed memory again as well.
    options.enable_mem_reuse = device != "cpu"
    options.log_severity_level = 4  # no errors, for they become exceptions
    options.enable_mem_pattern = False  # a plan kept for every shape of input: memory that grows with the stream
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
    """Load the libraries of CUDA that pip installs, where the loader does not look, before ONNX Runtime needs them."""
    onnxruntime.set_default_logger_severity(4)  # what is missing is said once, by the error
    with contextlib.redirect_stdout(io.StringIO()):  # where it would say what is missing, too
        onnxruntime.preload_dlls()


def _missing_library() -> str:
    """Why ONNX Runtime could not load the library that uses CUDA, in the loader's words."""
    try:
        ctypes.CDLL(str(Path(onnxruntime.__file__).parent / "capi" / "libonnxruntime_providers_cuda.so"))
    except OSError as error:
        return str(error)
    return "ONNX Runtime does not say why"


def _not_started(device: str, reason: str) -> ModelError:
    # CUDA's own words, out of a page of C++.
    found = re.search(r"CUDA failure \d+: [^;\n]*[^;\s]", reason)
    return ModelError(
        f"device {device!r}: {PROVIDERS[device]} could not be started ({found[0] if found else reason}); "
        "install NVIDIA's driver and 'onnxruntime-gpu[cuda,cudnn]', or use --device cpu"
    )


def _require_on(device: str, path: Path, session: onnxruntime.InferenceSession) -> None:
    """Refuse to run on the processor, unasked, what another device has no operators for: int8 products with CUDA."""
    elsewhere = {
        operator
        for provider, operators in placement(session).items()
        for operator in operators
        if provider != PROVIDERS[device] and operator in HEAVY
    }
    if elsewhere:
        raise ModelError(
            f"device {device!r}: of {path}, {', '.join(sorted(elsewhere))} would run on the processor (int8 runs there "
            "alone); export the model with --precision float16, or use --device cpu"
        )
