"""A bundle's language model in ONNX Runtime, as the search and the sampling see it."""

import functools
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from heed.models.arrays import BoolArray, FloatArray, IntArray
from heed.models.errors import ModelError
from heed.models.runtime.kv_cache import Cache
from heed.models.runtime.session import BoundGraph, open_session, run
from heed.models.spec.config import LanguageModelConfig
from heed.models.system.huge_pages import use_huge_pages

ROOM = 64  # slots by which a cache grows
LARGE = 32 << 20  # bytes of weights that no processor's cache is expected to hold
READ = 512  # tokens read at a time: the vocabulary is wide, and so are the scores of attention
# Of keys and values, by ONNX Runtime's words for them.
TYPES: dict[str, type[np.number]] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(int8)": np.int8,
}
LONG = 256  # tokens of a prompt that the decoder reads in less time than the stream, where that rounds


class OnnxTextState:
    """Texts being gone on with by a language model in ONNX Runtime; see `heed.models.runtime.protocol.TextState`.

    The tokens of a row stand in slots from 0 on, first its prompt, then what is generated. Where that is one token
    after the other, each sees all that came before, and the graph for that is the faster one. Where it keeps keys and
    values in integers, the decoder's are apart.
    """

    def __init__(self, network: "OnnxTextNetwork") -> None:
        self._network = network
        self._streams = Cache(network.cache_names, network.device, network.dtype)
        self._decoders = Cache(network.cache_names, network.device, np.float32) if network.rounds else self._streams
        self._past = self._streams  # what is read now
        self._lengths: IntArray = np.zeros(0, dtype=np.int64)  # of the prompts, but for their last tokens
        self._n_slots = 0
        self._bound: dict[tuple[Any, ...], BoundGraph] = {}  # by graph, shapes and outputs

    def read(self, src: IntArray, src_mask: BoolArray, *, alone: bool = False) -> None:
        """See `heed.models.runtime.protocol.TextState`."""
        B, S = src.shape
        self._lengths = src_mask.sum(axis=1) - 1
        streams = self._decoders is self._streams or (alone and S <= LONG)
        self._begin(B, S, self._streams if streams else self._decoders)
        # What stands behind a row's prompt is overwritten before it is seen.
        last, predicted = np.maximum(self._lengths - 1, 0), np.zeros(1, dtype=np.int64)
        size = S if streams else max(1, READ // B)
        for first in range(0, S - 1, size):
            self._see(src[:, first : min(first + size, S - 1)], first, last, predicted, "top_ids", 1)
        if alone and not streams:
            self._round()

    def step(
        self,
        tokens: IntArray,
        position: int,
        slots: IntArray,
        mask: BoolArray,
        top: int,
        wanted: IntArray | None = None,
    ) -> tuple[FloatArray, IntArray]:
        """See `heed.models.runtime.protocol.TextState`."""
        if wanted is None:
            log_probs, ids = self._step(tokens, position, slots, mask, ["top_log_probs", "top_ids"], top)
            return log_probs.copy(), ids.copy()
        ids, every = self._step(tokens, position, slots, mask, ["top_ids", "log_probs"], top)
        ids = np.concatenate([ids, wanted], axis=2)
        return np.take_along_axis(every, ids, axis=2), ids

    def predict(self, tokens: IntArray, position: int, slots: IntArray | None, mask: BoolArray) -> FloatArray:
        """See `heed.models.runtime.protocol.TextState`."""
        (log_probs,) = self._step(tokens, position, slots, mask, ["log_probs"], top=0)
        return log_probs

    def score(self, ids: IntArray, targets: IntArray) -> FloatArray:
        """See `heed.models.runtime.protocol.TextState`."""
        B, T = ids.shape
        found = np.empty((B, T), dtype=np.float32)
        for row in range(B):
            self._begin(1, T, self._decoders)
            for first in range(0, T, READ):
                end = min(first + READ, T)
                predicted = np.arange(end - first)
                last = np.array([end - 1])
                log_probs = self._see(ids[row : row + 1, first:end], first, last, predicted, "log_probs", 0)
                found[row, first:end] = log_probs[predicted, targets[row, first:end]]
        return found

    def keep(self, rows: IntArray) -> None:
        """See `heed.models.runtime.protocol.TextState`."""
        self._bound = {}
        self._lengths = self._lengths[rows]
        self._past.keep(rows)

    def _begin(self, n_rows: int, n_slots: int, past: Cache) -> None:
        config = self._network.config
        self._bound, self._n_slots, self._past = {}, 0, past
        self._past.begin((n_rows, config.n_kv_heads, 0, config.d_head))
        self._widen(n_slots)

    def _widen(self, n_slots: int) -> None:
        """Have at least so many slots."""
        if n_slots > self._n_slots:
            self._n_slots = -(-n_slots // ROOM) * ROOM
            self._past.widen(self._n_slots)
            self._bound = {}

    def _see(
        self, ids: IntArray, first: int, last: IntArray, predicted: IntArray, output: str, top: int
    ) -> npt.NDArray[Any]:
        """Read tokens, (B, T), in the slots from the first on, each of which sees those up to its own."""
        positions = np.broadcast_to(np.arange(first, first + ids.shape[1]), ids.shape)
        arrays = {"ids": ids, "positions": positions}
        if self._past is self._streams:
            (found,) = self._run("stream", arrays, last, predicted, [output], top)
        else:
            arrays |= {"slots": positions, "mask": np.arange(self._n_slots) <= positions[:, :, None]}
            (found,) = self._run("decoder", arrays, None, predicted, [output], top)
        return found

    def _round(self) -> None:
        """Go on by the stream with what the decoder has read."""
        config, session = self._network.config, self._network.rounding
        binding = session.io_binding()
        self._past.bind_past(binding)
        self._bound, self._past = {}, self._streams
        self._past.begin((len(self._lengths), config.n_kv_heads, self._n_slots, config.d_head))
        self._past.bind_present(binding)
        run(session, binding)

    def _step(
        self,
        tokens: IntArray,
        position: int,
        slots: IntArray | None,
        mask: BoolArray,
        outputs: list[str],
        top: int,
    ) -> list[npt.NDArray[Any]]:
        B, W = tokens.shape
        # A row that has ended may still be there, beyond what the network can see.
        positions = np.minimum(self._lengths + position, self._network.context - 1)
        self._widen(int(self._lengths.max()) + max(position + 1, mask.shape[2]))
        # One text a row, in the first slots.
        if self._past is self._streams and (slots is None or (W == 1 and (slots == position).all())):
            arrays = {"ids": tokens, "positions": positions[:, None]}
            found = self._run("stream", arrays, positions, np.arange(B), outputs, top)
        else:
            assert slots is not None, "without slots, a prompt is read alone"
            arrays = {"ids": tokens, "positions": positions[:, None].repeat(W, axis=1)}
            arrays |= {"slots": self._lengths[:, None] + slots, "mask": self._mask(mask)}
            found = self._run("decoder", arrays, None, np.arange(B * W), outputs, top)
        return [array.reshape(B, W, -1) for array in found]

    def _mask(self, mask: BoolArray) -> BoolArray:
        """Which slots each token sees, (B, W, C): its prompt's, and of those generated what a mask says."""
        B, W, n_generated = mask.shape
        seen = np.zeros((B, W, self._n_slots), dtype=bool)
        for row, length in enumerate(self._lengths.tolist()):
            seen[row, :, :length] = True
            seen[row, :, length : length + n_generated] = mask[row]
        return seen

    def _run(
        self,
        graph: str,
        arrays: dict[str, Any],
        last: IntArray | None,
        predicted: IntArray,
        outputs: list[str],
        top: int,
    ) -> list[npt.NDArray[Any]]:
        """What a graph makes, in memory that is written to again; where `top` is 0, the best are not looked for."""
        if last is not None:
            slots = last.astype(np.int32)
            arrays |= {"last": slots, "total": slots.max(keepdims=True) + 1}
        key = (graph, top, len(predicted), *arrays["ids"].shape, *outputs)
        if key not in self._bound:  # which says what is predicted, too: that need not be written again
            asked = {"predicted": predicted, "top": np.array([top])}
            self._bound[key] = self._bind(graph, arrays | asked, outputs)
        return self._bound[key].run(arrays)

    def _bind(self, graph: str, arrays: dict[str, Any], outputs: list[str]) -> BoundGraph:
        session = getattr(self._network, graph)
        binding = session.io_binding()
        self._past.bind(binding)
        N, V = len(arrays["predicted"]), self._network.vocab_size
        top = min(int(arrays["top"][0]), V)
        kinds = {"top_log_probs": (top, np.float32), "top_ids": (top, np.int64), "log_probs": (V, np.float32)}
        memory = {name: np.empty((N, kinds[name][0]), kinds[name][1]) for name in outputs}
        return BoundGraph(session, binding, self._network.device, arrays, memory)


class OnnxTextNetwork:
    """The graphs of a bundle's language model, loaded when they are needed.

    Args:
        directory: The bundle's.
        config: The network's sizes.
        device: "cpu" or "cuda".
        threads: Processor threads.

    Raises:
        ModelError: The device cannot be used, or ONNX Runtime refuses a graph.
    """

    def __init__(self, directory: Path, config: LanguageModelConfig, *, device: str, threads: int) -> None:
        self.config, self.device = config, device
        self.context, self.vocab_size = config.context, config.vocab_size
        self._directory, self._threads = directory, threads
        self.cache_names = [f"{part}.{number}" for number in range(config.n_layers) for part in ("keys", "values")]
        self._require_fit(self.stream)

    @functools.cached_property
    def stream(self) -> onnxruntime.InferenceSession:
        """One token a row; prompts, where it does not round."""
        return self._open("stream.onnx")

    @functools.cached_property
    def decoder(self) -> onnxruntime.InferenceSession:
        """Several tokens a row, each of which sees what a mask says."""
        return self._open("decoder.onnx")

    @functools.cached_property
    def rounding(self) -> onnxruntime.InferenceSession:
        """Of the decoder's keys and values, for the stream."""
        return self._open("rounding.onnx")

    def _open(self, name: str) -> onnxruntime.InferenceSession:
        session = open_session(self._directory / name, self.device, self._threads, spinning=True)
        if self.device == "cpu" and sum(file.stat().st_size for file in self._directory.iterdir()) >= LARGE:
            use_huge_pages()
        return session

    @property
    def dtype(self) -> type[np.number]:
        """Of the stream's keys and values."""
        (kind,) = {value.type for value in self.stream.get_inputs() if value.name.startswith("past_")}
        return TYPES[kind]

    @property
    def rounds(self) -> bool:
        """Whether the stream keeps keys and values in integers."""
        return self.dtype == np.int8

    def _require_fit(self, session: onnxruntime.InferenceSession) -> None:
        """Refuse graphs of another network than the manifest tells of."""
        config = self.config
        past = [value for value in session.get_inputs() if value.name.startswith("past_")]
        found = {value.name: value.shape[1::2] for value in past}
        found |= {value.name: value.shape[1] for value in session.get_outputs() if value.name == "log_probs"}
        expected: dict[str, Any] = {f"past_{name}": [config.n_kv_heads, config.d_head] for name in self.cache_names}
        typed = {value.type for value in past} in [{kind} for kind in TYPES]
        if not typed or found != expected | {"log_probs": config.vocab_size}:
            raise ModelError(f"{self._directory}: damaged: its graphs are of another network than its manifest")

    def state(self) -> OnnxTextState:
        """See `heed.models.runtime.protocol.TextNetwork`."""
        return OnnxTextState(self)
