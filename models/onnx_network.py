"""A bundle's network in ONNX Runtime, as the search sees it."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as native  # pyright: ignore[reportAttributeAccessIssue]

from heed.models.config import ModelConfig
from heed.models.errors import ModelError
from heed.models.search import BoolArray, FloatArray, IntArray

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
PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


class OnnxState:
    """A batch of sources being decoded; its keys and values stay in ONNX Runtime's memory."""

    def __init__(self, network: "OnnxNetwork", memory: dict[str, onnxruntime.OrtValue], src_mask: BoolArray) -> None:
        self._network = network
        self._constant = {**memory, "src_mask": network.value(src_mask)}
        config = network.config
        nothing = np.zeros((len(src_mask), config.n_heads, 0, config.d_head), dtype=np.float32)
        self._past = {name: network.value(nothing) for name in network.cache_names}
        self._n_steps = 0

    def step(self, tokens: IntArray, mask: BoolArray, top: int) -> tuple[FloatArray, IntArray]:
        """See `heed.models.search.State`."""
        positions = np.full(tokens.shape[1], self._n_steps, dtype=np.int64)
        top = min(top, self._network.config.tgt_vocab_size)
        found = self._run(tokens, positions, mask, top, ["top_log_probs", "top_ids"])
        return found["top_log_probs"], found["top_ids"]

    def keep(self, rows: IntArray) -> None:
        """See `heed.models.search.State`."""
        for values in (self._constant, self._past):
            values.update({name: self._network.value(value.numpy()[rows]) for name, value in values.items()})

    def log_probs(self, tgt: IntArray) -> FloatArray:
        """Log-probabilities of every token after each position of whole targets, (B, T): (B, T, V)."""
        T = tgt.shape[1]
        causal = np.broadcast_to(np.tri(T, dtype=bool), (len(tgt), T, T))
        return self._run(tgt, np.arange(T), causal, 1, ["log_probs"])["log_probs"]

    def _run(self, tgt: IntArray, positions: IntArray, mask: BoolArray, top: int, names: list[str]) -> dict[str, Any]:
        network = self._network
        inputs = {
            "tgt": tgt,
            "positions": positions,
            "mask": mask,
            "top": np.array([top], dtype=np.int64),
        }
        binding = network.decoder.io_binding()
        for name, array in inputs.items():
            binding.bind_cpu_input(name, np.ascontiguousarray(array))
        for name, value in self._constant.items():
            binding.bind_ortvalue_input(name, value)
        for name, value in self._past.items():
            binding.bind_ortvalue_input(f"past_{name}", value)
        for name in names:
            binding.bind_output(name, "cpu")
        for name in self._past:
            binding.bind_output(name, network.device)
        network.decoder.run_with_iobinding(binding)
        outputs = binding.get_outputs()
        self._past = dict(zip(self._past, outputs[len(names) :], strict=True))
        self._n_steps += 1
        return {name: value.numpy() for name, value in zip(names, outputs, strict=False)}


class OnnxNetwork:
    """The encoder and decoder graphs of a bundle, loaded.

    Args:
        directory: The bundle's.
        config: The network's sizes.
        device: "cpu" or "cuda".
        threads: Processor threads.

    Raises:
        ModelError: The device cannot be used, or ONNX Runtime refuses a graph.
    """

    def __init__(self, directory: Path, config: ModelConfig, *, device: str, threads: int) -> None:
        self.config, self.device = config, device
        self._encoder = _session(directory / "encoder.onnx", device, threads)
        self.decoder = _session(directory / "decoder.onnx", device, threads)
        layers = range(config.n_layers)
        self.cache_names = [f"{part}.{number}" for number in layers for part in ("keys", "values")]
        self._require_fit(directory)

    def _require_fit(self, directory: Path) -> None:
        """Refuse graphs of another network than the manifest tells of."""
        decoder, config = self.decoder, self.config
        found = {value.name: value.shape[1::2] for value in decoder.get_inputs() if value.name.startswith("past_")}
        found |= {value.name: value.shape[2] for value in decoder.get_outputs() if value.name == "log_probs"}
        expected: dict[str, object] = {f"past_{name}": [config.n_heads, config.d_head] for name in self.cache_names}
        if found != expected | {"log_probs": config.tgt_vocab_size}:
            raise ModelError(f"{directory}: damaged: its graphs are of another network than its manifest; get it again")

    def start(self, src: IntArray, src_mask: BoolArray) -> OnnxState:
        """See `heed.models.search.Network`."""
        binding = self._encoder.io_binding()
        binding.bind_cpu_input("src", src)
        binding.bind_cpu_input("src_mask", src_mask)
        names = [f"memory_{name}" for name in self.cache_names]
        for name in names:
            binding.bind_output(name, self.device)
        self._encoder.run_with_iobinding(binding)
        return OnnxState(self, dict(zip(names, binding.get_outputs(), strict=True)), src_mask)

    def value(self, array: "FloatArray | BoolArray") -> onnxruntime.OrtValue:
        """An array in the memory of the device."""
        return onnxruntime.OrtValue.ortvalue_from_numpy(array, self.device)


def _session(path: Path, device: str, threads: int) -> onnxruntime.InferenceSession:
    provider = PROVIDERS[device]
    if provider not in onnxruntime.get_available_providers():
        raise ModelError(
            f"device {device!r}: this onnxruntime has no {provider}; install onnxruntime-gpu, or use --device cpu"
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # errors; they become exceptions
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # idle threads must not burn a core
    try:
        session = onnxruntime.InferenceSession(
            path,
            options,
            providers=[provider],
            disabled_optimizers=["SkipLayerNormFusion"],  # on a CPU seven times slower than its two parts
        )
    except REFUSALS as error:
        raise ModelError(f"{path}: ONNX Runtime cannot load it: {str(error).splitlines()[0]}") from None
    if provider not in session.get_providers():
        raise ModelError(
            f"device {device!r}: {provider} could not be started (a driver or library is missing); use --device cpu"
        )
    return session
