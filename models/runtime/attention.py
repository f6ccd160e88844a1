"""Attention weights of a bundle's network, computed by the parts of its own graphs that end in them."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from heed.models.arrays import BoolArray, FloatArray, IntArray
from heed.models.errors import ModelError
from heed.models.runtime.graphs import SUFFIX, TYPES
from heed.models.runtime.kv_cache import places_of
from heed.models.runtime.session import compute, open_session
from heed.models.runtime.subgraph import nodes, subgraph
from heed.models.spec.network import NetworkSpec
from heed.models.system.forks import call_in_children, never_free

KINDS = ("encoder", "decoder", "cross")  # self-attention of either stack; attention of the decoder to the encoder
OPERATOR = "Softmax"  # of attention; that of predictions is LogSoftmax
Weights = dict[str, list[FloatArray]]  # by kind, for each layer, (B, H, queries, keys)


def kinds(spec: NetworkSpec) -> list[str]:
    """The kinds of attention that a network has."""
    own = [name for name, stack in spec.stacks.items() if stack.recurrence is None]
    return [*own, *(["cross"] if len(spec.stacks) > 1 else [])]


class AttentionGraphs:
    """The graphs that compute attention weights.

    Args:
        directory: The bundle's directory.
        spec: The network's specification.
        files: Names of the bundle's files; no other graph is opened.
        device: "cpu" or "cuda".
        threads: Number of CPU threads.
        layers: The layers that are wanted of each kind, numbers from 0; nothing above them is computed. None: all.

    Raises:
        ModelError: The graphs do not show attention weights, or the device is unusable.
    """

    def __init__(
        self,
        directory: Path,
        spec: NetworkSpec,
        files: Collection[str],
        *,
        device: str,
        threads: int,
        layers: Mapping[str, Sequence[int]] | None = None,
    ) -> None:
        self.spec = spec
        depths = {"encoder": spec.encoder, "decoder": spec.decoder, "cross": spec.decoder}
        every = {kind: range(stack.n_layers) for kind in kinds(spec) if (stack := depths[kind])}
        self._layers: Mapping[str, Sequence[int]] = every if layers is None else layers
        self.kinds = tuple(kind for kind in KINDS if kind in self._layers)
        self._directory, self._device, self._threads = directory, device, threads
        if missing := [f"{name}{SUFFIX}" for name in spec.stacks if f"{name}{SUFFIX}" not in files]:
            raise ModelError(f"{directory}: damaged: {missing[0]} is not in the manifest; get the model again")
        self._load()
        call_in_children(self._reload)

    def _load(self) -> None:
        spec, self._is_loaded = self.spec, True
        self._decoder = self._open("decoder", ["decoder", "cross"], self._states()) if spec.decoder else None
        memory = [name for name in self._decoder.shapes if name.startswith("memory_")] if self._decoder else []
        self._encoder = self._open("encoder", ["encoder"], memory) if spec.encoder else None

    def _reload(self) -> None:
        """Open the graphs again when they are needed: in a forked process, those of before have lost their threads."""
        for part in (self._decoder, self._encoder):
            if part is not None:
                never_free(part.session)
        self._is_loaded = False

    def _states(self) -> list[str]:
        """The states of a recurrence that the wanted layers depend on."""
        if self.spec.decoder is None or self.spec.decoder.recurrence is None:
            return []
        return [f"states.{number}" for number in range(max(self._layers.get("cross", ()), default=-1) + 1)]

    def _open(self, name: str, shown: Sequence[str], others: Sequence[str] = ()) -> "_Part":
        path = self._directory / f"{name}{SUFFIX}"
        model = path.read_bytes()
        found = [node.outputs[0] for node in nodes(model) if node.operator == OPERATOR]
        there = [kind for kind in shown if kind in kinds(self.spec)]  # in the order of a layer
        if len(found) != self.spec.stacks[name].n_layers * len(there):
            raise ModelError(f"{path}: its graph does not show attention weights; export the model again")
        each = {kind: found[number :: len(there)] for number, kind in enumerate(there)}
        wanted = {kind: [each[kind][layer] for layer in self._layers[kind]] for kind in shown if kind in self._layers}
        outputs = [*others, *(value for values in wanted.values() for value in values)]
        part = subgraph(model, outputs)
        return _Part(open_session(path, self._device, self._threads, model=part), wanted, list(others))

    def read(self, src: IntArray | None, src_mask: BoolArray | None, tgt: IntArray | None) -> Weights:
        """The attention weights of the wanted layers, by kind.

        Args:
            src: Token ids of sources, (B, S), right-padded; None: the network has no encoder.
            src_mask: True at real tokens, (B, S).
            tgt: Token ids that the decoder reads, (B, T), right-padded; None: the network has no decoder.
        """
        if not self._is_loaded:
            self._load()
        found, memory = Weights(), dict[str, npt.NDArray[Any]]()
        if self._encoder and src is not None and src_mask is not None:
            arrays = {"src": src, "src_mask": src_mask, "rows": np.arange(len(src))}
            weights, memory = self._encoder.run(arrays, len(src), src.shape[1])
            found |= weights
        if self._decoder and tgt is not None:
            given = memory | ({} if src_mask is None else {"src_mask": src_mask})
            found |= self._read_target(self._decoder, tgt, given)
        return found

    def _read_target(self, decoder: "_Part", tgt: IntArray, given: Mapping[str, npt.NDArray[Any]]) -> Weights:
        """The decoder's weights; a recurrence reads the tokens one after another."""
        T, states = tgt.shape[1], self._states()
        parts, read = list[Weights](), dict[str, npt.NDArray[Any]]()
        for first in range(T if states else 1):
            columns = slice(first, first + 1 if states else T)
            arrays = {**_decoder_inputs(tgt, decoder.shapes, columns), **given, **read}
            weights, others = decoder.run(arrays, *tgt.shape)
            read = {f"past_{name}": array for name, array in others.items()}
            parts.append(weights)
        return {
            kind: [np.concatenate(layer, axis=2) for layer in zip(*(part[kind] for part in parts), strict=True)]
            for kind in parts[0]
        }


class _Part:
    """A session with the values that it shows of each kind, and its other outputs."""

    def __init__(self, session: onnxruntime.InferenceSession, shown: dict[str, list[str]], others: list[str]) -> None:
        self.session, self._shown, self._others = session, shown, others
        self.shapes: dict[str, list[int | str]] = {value.name: value.shape for value in session.get_inputs()}

    def run(
        self, arrays: Mapping[str, npt.NDArray[Any]], n_rows: int, n_slots: int
    ) -> tuple[Weights, dict[str, npt.NDArray[Any]]]:
        """The weights by kind, and the other outputs by name; past keys and values that are not given are zeros."""
        names = [*self._others, *(value for values in self._shown.values() for value in values)]
        feeds = {name: arrays[name] for name in self.shapes if name in arrays}
        for value in self.session.get_inputs():
            if value.name.startswith("past_") and value.name not in feeds:
                # (B, G, C, K) or (B, G, K, C)
                shape = [n_rows, *(n_slots if isinstance(size, str) else size for size in value.shape[1:])]
                feeds[value.name] = np.zeros(shape, TYPES[value.type])
        found = dict(zip(names, compute(self.session, names, feeds), strict=True) if names else ())
        weights = {kind: [_by_head(found[value]) for value in values] for kind, values in self._shown.items()}
        return weights, {name: found[name] for name in self._others}


def _by_head(weights: npt.NDArray[Any]) -> FloatArray:
    """Weights in groups of heads that share keys, (B, G, H/G, T, S), or not: (B, H, T, S)."""
    B, *_, T, S = weights.shape
    return weights.reshape(B, -1, T, S).astype(np.float32)


def _decoder_inputs(
    tgt: IntArray, shapes: Mapping[str, Sequence[int | str]], columns: slice
) -> dict[str, npt.NDArray[Any]]:
    """The inputs of a decoder that reads columns of outputs, (B, T), in the slots from 0, with causal attention."""
    (B, T), places = tgt.shape, np.arange(tgt.shape[1])
    slots, mask = np.broadcast_to(places, tgt.shape), np.broadcast_to(np.tri(T, dtype=bool), (B, T, T))
    ids, positions, wide = tgt[:, columns], places[columns], slots[:, columns]
    n, shape = ids.size, shapes.get("positions", [])
    fitting = positions if len(shape) == 1 else positions[None] if shape[:1] == ["1 or B"] else wide
    return {
        "tgt": ids,
        "ids": ids,
        "positions": fitting,
        "slots": wide,
        "places": places_of(wide, int(shapes["places"][1]) if "places" in shapes else 1),
        "mask": mask[:, columns],
        "key_positions": slots,
        "tokens": np.arange(n),
        "rows": np.arange(n).reshape(ids.shape),
    }
