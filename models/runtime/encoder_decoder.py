"""A bundle's network in ONNX Runtime, as the search sees it."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
from onnxruntime import OrtValue

from heed.models.arrays import BoolArray, FloatArray, IntArray
from heed.models.errors import ModelError
from heed.models.runtime.kv_cache import Cache
from heed.models.runtime.session import bind_arrays, open_session, run
from heed.models.spec.config import ModelConfig
from heed.models.system.threads import ThreadPool

ENCODED = 32  # sources encoded at a time: more leave the processor's own memory


class OnnxState:
    """A batch being decoded by a network in ONNX Runtime; see `heed.models.runtime.protocol.State`.

    The graphs' outputs of keys and values are bound to their inputs, and so written in place.
    """

    def __init__(self, network: "OnnxNetwork") -> None:
        self._network = network
        self._memory = Cache((f"memory_{name}" for name in network.cache_names), network.device, network.dtype)
        self._past = Cache(network.cache_names, network.device, network.dtype)
        self._src_mask: BoolArray = np.zeros((0, 0), dtype=bool)
        self._shortlist: dict[str, OrtValue] = {}
        self._binding: onnxruntime.IOBinding | None = None  # of a step; None: something it binds has changed
        self._n_slots = 0

    def read(self, src: IntArray, src_mask: BoolArray) -> None:
        """See `heed.models.runtime.protocol.State`."""
        (B, S), config = src.shape, self._network.config
        self._src_mask, self._binding = src_mask, None
        self._memory.begin((B, config.n_heads, S, config.d_head))
        self._past.begin((B, config.n_heads, 0, config.d_head))
        for first in range(0, B, ENCODED):
            rows = np.arange(first, min(first + ENCODED, B))
            binding = self._network.encoder.io_binding()
            bind_arrays(binding, {"src": src[rows], "src_mask": src_mask[rows], "rows": rows})
            self._memory.bind(binding)
            run(self._network.encoder, binding)
        if self._network.shortlist:
            sources = {"src": src, "src_mask": src_mask}
            self._shortlist = _outputs(self._network.shortlist, sources, self._network.device)

    def step(
        self,
        tokens: IntArray,
        position: int,
        slots: IntArray,
        mask: BoolArray,
        top: int,
        wanted: IntArray | None = None,
    ) -> tuple[FloatArray, IntArray]:
        """See `heed.models.runtime.protocol.State`."""
        arrays = {"tgt": tokens, "positions": np.array([position]), "slots": slots, "mask": mask}
        if wanted is None:
            log_probs, ids = self._run(arrays, top, ["top_log_probs", "top_ids"])
            return log_probs, ids
        assert self._network.shortlist is None, "a shortlist may not have what is wanted"
        ids, every = self._run(arrays, top, ["top_ids", "log_probs"])
        ids = np.concatenate([ids, wanted], axis=2)
        return np.take_along_axis(every, ids, axis=2), ids

    @property
    def vocabulary(self) -> IntArray:
        """The token ids that it predicts, (V,) or (V',)."""
        ids = self._shortlist.get("shortlist_ids")
        found: IntArray = np.arange(self._network.config.tgt_vocab_size) if ids is None else ids.numpy()
        return found

    def log_probs(self, tgt: IntArray, src_mask: BoolArray | None = None) -> FloatArray:
        """Log-probabilities after each position of whole targets, (B, T), the first thing after `read`: (B, T, V).

        With a mask, (B, S), the decoder sees of the sources, each read whole, what is True there.
        """
        B, T = tgt.shape
        self._binding = None
        self._src_mask = self._src_mask if src_mask is None else src_mask
        positions = np.arange(T)
        causal = np.broadcast_to(np.tri(T, dtype=bool), (B, T, T))
        arrays = {"tgt": tgt, "positions": positions, "slots": np.broadcast_to(positions, (B, T)), "mask": causal}
        (log_probs,) = self._run(arrays, 1, ["log_probs"])
        return log_probs

    def keep(self, rows: IntArray) -> None:
        """See `heed.models.runtime.protocol.State`."""
        self._binding = None
        self._src_mask = self._src_mask[rows]
        self._memory.keep(rows)
        self._past.keep(rows)
        if self._shortlist:
            mask = self._shortlist["shortlist_mask"].numpy()[rows]
            self._shortlist["shortlist_mask"] = OrtValue.ortvalue_from_numpy(mask, self._network.device)

    def _run(self, arrays: dict[str, Any], top: int, outputs: list[str]) -> list[npt.NDArray[Any]]:
        n_slots = arrays["mask"].shape[2]
        if self._binding is None or n_slots > self._n_slots:
            self._past.widen(n_slots)
            self._binding, self._n_slots = self._bind(), n_slots
        bind_arrays(self._binding, {**arrays, "top": np.array([top], dtype=np.int64)})
        for name in outputs:
            self._binding.bind_output(name, "cpu")
        run(self._network.decoder, self._binding)
        return [value.numpy() for value in self._binding.get_outputs()[-len(outputs) :]]

    def _bind(self) -> onnxruntime.IOBinding:
        """What stays the same from step to step."""
        binding = self._network.decoder.io_binding()
        bind_arrays(binding, {"src_mask": self._src_mask})
        for name, value in {**self._memory.values, **self._shortlist}.items():
            binding.bind_ortvalue_input(name, value)
        self._past.bind(binding)
        return binding


def _outputs(session: onnxruntime.InferenceSession, arrays: dict[str, Any], device: str) -> dict[str, OrtValue]:
    """All outputs of a graph, left in the memory of the device."""
    binding, names = session.io_binding(), [output.name for output in session.get_outputs()]
    bind_arrays(binding, arrays)
    for name in names:
        binding.bind_output(name, device)
    run(session, binding)
    return dict(zip(names, binding.get_outputs(), strict=True))


class OnnxNetwork:
    """The encoder and decoder graphs of a bundle, loaded.

    Args:
        directory: The bundle's.
        config: The network's sizes.
        device: "cpu" or "cuda".
        threads: Processor threads.
        shortlist: Decode over the tokens alone that a batch's sources are likely to need; the bundle must know them.

    Raises:
        ModelError: The device cannot be used, or ONNX Runtime refuses a graph.
    """

    def __init__(
        self, directory: Path, config: ModelConfig, *, device: str, threads: int, shortlist: bool = False
    ) -> None:
        self.config, self.device = config, device
        names = ["encoder", *(["shortlist_decoder", "shortlist"] if shortlist else ["decoder"])]
        with ThreadPool(len(names) if device == "cpu" else 1) as pool:  # most of a start is to load these
            sessions = pool.map(lambda name: open_session(directory / f"{name}.onnx", device, threads), names)
            self.encoder, self.decoder, *others = sessions
        self.shortlist = others[0] if shortlist else None
        layers = range(config.n_layers)
        self.cache_names = [f"{part}.{number}" for number in layers for part in ("keys", "values")]
        self._require_fit(directory)

    @property
    def dtype(self) -> type[np.floating]:
        """Of keys and values."""
        kinds = {value.type for value in self.decoder.get_inputs() if value.name.startswith("past_")}
        return np.float16 if kinds == {"tensor(float16)"} else np.float32

    def _require_fit(self, directory: Path) -> None:
        """Refuse graphs of another network than the manifest tells of."""
        decoder, config = self.decoder, self.config
        found = {value.name: value.shape[1::2] for value in decoder.get_inputs() if value.name.startswith("past_")}
        found |= {value.name: value.shape[2] for value in decoder.get_outputs() if value.name == "log_probs"}
        expected: dict[str, object] = {f"past_{name}": [config.n_heads, config.d_head] for name in self.cache_names}
        expected["log_probs"] = "V'" if self.shortlist else config.tgt_vocab_size
        if found != expected:
            raise ModelError(f"{directory}: damaged: its graphs are of another network than its manifest; get it again")

    def state(self) -> OnnxState:
        """See `heed.models.runtime.protocol.Network`."""
        return OnnxState(self)
