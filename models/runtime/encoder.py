"""An encoder alone in ONNX Runtime."""

from collections.abc import Collection
from pathlib import Path

import numpy as np
import onnxruntime

from heed.models.arrays import BoolArray, FloatArray, IntArray
from heed.models.errors import ModelError
from heed.models.runtime.graphs import SUFFIX
from heed.models.runtime.session import bind_arrays, open_session, run
from heed.models.spec.network import NetworkSpec

PREDICTED = 1 << 25  # log-probabilities in memory at a time (128 MiB)


class OnnxEncoder:
    """A bundle's encoder; see `heed.models.runtime.protocol.Encoder`.

    Args:
        directory: The bundle's directory.
        spec: The network's description.
        files: Names of the bundle's files; no other graph is opened.
        device: "cpu" or "cuda".
        threads: Number of CPU threads.

    Raises:
        ModelError: The network is not an encoder alone, the device is unusable, or ONNX Runtime refuses a graph.
    """

    def __init__(
        self, directory: Path, spec: NetworkSpec, files: Collection[str], *, device: str, threads: int
    ) -> None:
        if spec.encoder is None or spec.decoder is not None:
            raise ModelError(f"{directory}: this model is not an encoder alone")
        self.spec = spec
        self._directory, self._files, self._device, self._threads = directory, files, device, threads
        self._sessions: dict[str, onnxruntime.InferenceSession] = {}
        (states,) = self._session("encoder").get_outputs()
        if states.name != "states" or states.shape[-1] != spec.d_model:
            raise ModelError(f"{directory}: damaged: its graphs do not match its manifest; get the model again")

    @property
    def sessions(self) -> dict[str, onnxruntime.InferenceSession]:
        """The loaded graphs, by name."""
        return dict(self._sessions)

    def encode(self, src: IntArray, src_mask: BoolArray) -> FloatArray:
        """See `heed.models.runtime.protocol.Encoder`."""
        return self._run("encoder", "states", {"src": src, "src_mask": src_mask})

    def log_probs(self, states: FloatArray) -> FloatArray:
        """See `heed.models.runtime.protocol.Encoder`."""
        size = max(1, PREDICTED // self.spec.last.vocab_size)
        top = np.array([1])
        parts = [
            self._run("predictor", "log_probs", {"states": states[start : start + size], "top": top})
            for start in range(0, len(states), size)
        ]
        return np.concatenate(parts) if parts else np.zeros((0, self.spec.last.vocab_size), dtype=np.float32)

    def _session(self, name: str) -> onnxruntime.InferenceSession:
        if name not in self._sessions:
            if f"{name}{SUFFIX}" not in self._files:
                raise ModelError(f"{self._directory}: has no graph {name}{SUFFIX}; get the model again")
            path = self._directory / f"{name}{SUFFIX}"
            self._sessions[name] = open_session(path, self._device, self._threads, spinning=False)
        return self._sessions[name]

    def _run(self, graph: str, output: str, inputs: dict[str, IntArray | BoolArray | FloatArray]) -> FloatArray:
        session = self._session(graph)
        binding = session.io_binding()
        bind_arrays(binding, inputs)
        binding.bind_output(output)
        run(session, binding)
        found: FloatArray = binding.copy_outputs_to_cpu()[0]
        return found
