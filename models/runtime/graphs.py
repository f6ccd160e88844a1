"""A bundle's graphs, loaded in ONNX Runtime when they are needed."""

import contextlib
import functools
import threading
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from heed.models.errors import HeedError, ModelError
from heed.models.runtime.session import open_session
from heed.models.spec.network import NetworkSpec
from heed.models.spec.positions import RelativeBuckets
from heed.models.spec.stack import StackSpec
from heed.models.system.forks import call_in_children, never_free
from heed.models.system.huge_pages import use_huge_pages
from heed.models.system.threads import Task

LARGE = 32 << 20  # bytes of weights that do not fit into a processor's cache
# Types of the KV cache, by ONNX Runtime's names.
TYPES: dict[str, type[np.number]] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(int8)": np.int8,
    "tensor(uint8)": np.uint8,
}
SUFFIX = ".onnx"


class Graphs:
    """The graphs of a bundle.

    What a graph takes and makes is read from its inputs and outputs, not from the bundle's age.

    Args:
        directory: The bundle's directory.
        spec: The network's description.
        files: Names of the bundle's files; no other graph is opened.
        device: "cpu" or "cuda".
        threads: Number of CPU threads.
        shortlist: Decode over the shortlist of a batch's sources; the bundle must have one.
        meanwhile: What else to do while the graphs are opened.

    Raises:
        ModelError: The device is unusable, ONNX Runtime refuses a graph, or graphs and description do not match.
    """

    def __init__(
        self,
        directory: Path,
        spec: NetworkSpec,
        files: Collection[str],
        *,
        device: str,
        threads: int,
        shortlist: bool = False,
        meanwhile: Callable[[], object] | None = None,
    ) -> None:
        self.spec, self.device, self.has_shortlist = spec, device, shortlist
        self._directory, self.threads = directory, threads
        self._again = functools.partial(
            Graphs, directory, spec, files, device=device, threads=threads, shortlist=shortlist
        )
        self._stamp = _stamp(directory)
        self._is_small = sum(size for size, *_ in self._stamp.values()) < LARGE  # fits into a processor's cache
        self._graphs = {name.removesuffix(SUFFIX) for name in files if name.endswith(SUFFIX)}
        self.has_stream = "stream" in self._graphs
        if spec.decoder is None:
            raise ModelError(f"{directory}: this model is an encoder alone, with which nothing is decoded")
        self.decoder_spec = spec.decoder
        layers, heads = range(spec.decoder.n_layers), spec.decoder.attention
        names = [f"{part}.{n}" for n in layers for part in ("keys", "values")]
        self.is_recurrent = spec.decoder.recurrence is not None
        self.cache_names = [f"states.{n}" for n in layers] if self.is_recurrent else names
        self.memory_names = [f"memory_{name}" for name in names] if spec.encoder else []
        # The heads of keys and values, and their width, in the memory and in the decoder's own cache.
        self.memory_heads = heads.n_kv_heads, heads.d_head
        self.cache_heads = (1, spec.d_model) if self.is_recurrent else self.memory_heads
        # whether the decoder needs the positions of tokens in slots
        self.sees_distances = _sees_distances(spec.decoder)
        self._sessions: dict[str, onnxruntime.InferenceSession] = {}
        self._loading = threading.Lock()
        call_in_children(self._reload)
        self._inputs: dict[str, dict[str, list[int | str]]] = {}
        self._open_first(meanwhile or (lambda: None))
        self._require_fit("stream" if self.has_stream else "decoder")

    def _open_first(self, meanwhile: Callable[[], object]) -> None:
        """Open the graphs that decoding always needs; on the CPU another thread opens all but the encoder.

        This thread opens the encoder, after what else it has to do: three threads on two cores would wait for each
        other, and Linux would leave two of them on one core for a while.
        """
        decoder = ["stream"] if self.has_stream else ["decoder", *(["shortlist"] if self.has_shortlist else [])]
        encoder = ["encoder"] if self.spec.encoder and not self.has_stream else []
        if self.device != "cpu":
            meanwhile()
            self._sessions |= self._open_all([*encoder, *decoder])
            return
        beside = Task(functools.partial(self._open_all, decoder))
        try:
            meanwhile()
            self._sessions |= self._open_all(encoder)
        finally:
            beside.wait()
        self._sessions |= beside.result()

    def _open_all(self, names: Sequence[str]) -> dict[str, onnxruntime.InferenceSession]:
        return {name: self._open(name) for name in names}

    def _reload(self) -> None:
        """Open the graphs again when they are needed: in a forked process, those of before have lost their threads."""
        for session in self._sessions.values():
            never_free(session)
        self._sessions, self._loading = {}, threading.Lock()

    @property
    def sessions(self) -> dict[str, onnxruntime.InferenceSession]:
        """The loaded graphs, by name."""
        return dict(self._sessions)

    def session(self, name: str) -> onnxruntime.InferenceSession:
        """A graph by name, loaded on first use."""
        if name not in self._sessions:
            with self._loading:
                if name not in self._sessions:
                    self._sessions[name] = self._open(name)
        return self._sessions[name]

    def inputs(self, name: str) -> dict[str, list[int | str]]:
        """The inputs of a graph and their shapes."""
        if name not in self._inputs:
            self._inputs[name] = {value.name: value.shape for value in self.session(name).get_inputs()}
        return self._inputs[name]

    def _open(self, name: str) -> onnxruntime.InferenceSession:
        stem = "shortlist_decoder" if name == "decoder" and self.has_shortlist else name
        if stem not in self._graphs:
            raise ModelError(f"{self._directory}: damaged: {stem}{SUFFIX} is not in the manifest; get the model again")
        alone = self.spec.encoder is None  # one token at a time, with all threads
        session = open_session(self._directory / f"{stem}{SUFFIX}", self.device, self.threads, spinning=alone)
        if self.device == "cpu" and alone and not self._is_small:
            use_huge_pages()
        return session

    def for_another_thread(self) -> "Graphs":
        """These graphs, in sessions of their own if a small network translates on the CPU.

        Threads of one session write to memory that another thread has just left, and that is in the cache of the other
        core: a twentieth to a twelfth of a small network's time.
        """
        suits = self._is_small and self.device == "cpu" and self.spec.encoder is not None
        # Files that were replaced in the meantime would be another model.
        if suits and _stamp(self._directory) == self._stamp:
            with contextlib.suppress(HeedError):  # memory or threads are short; the others do as well
                return self._again()
        return self

    @property
    def context(self) -> int | None:
        """Tokens of an output that the network can read; None: any number."""
        return self.decoder_spec.n_positions

    @property
    def cache_types(self) -> dict[str, type[np.number]]:
        """Types of the arrays of the decoder's KV cache, by name."""
        if self.rounds:
            return dict.fromkeys(self.cache_names, np.float32)
        found = self._types("stream" if self.has_stream else "decoder")
        return {name: found[f"past_{name}"] for name in self.cache_names}

    @property
    def memory_types(self) -> dict[str, type[np.number]]:
        """Types of the keys and values of sources, by name."""
        found = self._types("decoder") if self.memory_names else {}
        return {name: found[name] for name in self.memory_names}

    @property
    def turned(self) -> list[str]:
        """Names of the keys of sources that stand in columns, (B, G, K, M)."""
        shapes = self.inputs("decoder") if self.memory_names else {}
        return [name for name in self.memory_names if isinstance(shapes[name][3], str)]

    @property
    def rounds(self) -> bool:
        """Whether the stream has an integer KV cache."""
        return self.has_stream and np.int8 in self._types("stream").values()

    def _types(self, name: str) -> dict[str, type[np.number]]:
        """Types of the inputs of a graph that are keys and values, or may be."""
        return {value.name: TYPES[value.type] for value in self.session(name).get_inputs() if value.type in TYPES}

    def _require_fit(self, name: str) -> None:
        """Refuse graphs that do not match the manifest's network."""
        session, stack = self.session(name), self.decoder_spec
        past = [value for value in session.get_inputs() if value.name.startswith("past_")]
        found = {value.name: value.shape[1::2] for value in past}
        found |= {value.name: value.shape[-1] for value in session.get_outputs() if value.name == "log_probs"}
        expected: dict[str, Any] = {f"past_{name}": [*self.cache_heads] for name in self.cache_names}
        expected["log_probs"] = "V'" if self.has_shortlist else stack.vocab_size
        if (
            not {value.type for value in past} <= TYPES.keys()
            or found != expected
            or (self.rounds and "rounding" not in self._graphs)
        ):
            raise ModelError(f"{self._directory}: damaged: its graphs do not match its manifest; get the model again")


def _stamp(directory: Path) -> dict[str, tuple[int, ...]]:
    """What changes when a file of a directory does, its size first; nothing if the directory is gone."""
    try:
        found = {file.name: file.stat() for file in directory.iterdir()}
    except OSError:
        return {}
    return {name: (stat.st_size, stat.st_mtime_ns, stat.st_ino) for name, stat in found.items()}


def _sees_distances(stack: StackSpec) -> bool:
    has_bias = isinstance(stack.positions, RelativeBuckets)
    return stack.attention.window is not None or has_bias or stack.recurrence is not None
