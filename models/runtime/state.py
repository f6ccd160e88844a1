"""The state of decoding with a bundle's graphs."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
from onnxruntime import OrtValue

from heed.models.arrays import BoolArray, FloatArray, IntArray
from heed.models.errors import ModelError
from heed.models.runtime.graphs import Graphs
from heed.models.runtime.kv_cache import KVCache, places_of
from heed.models.runtime.protocol import Padded
from heed.models.runtime.session import BoundGraph, bind_arrays, run
from heed.models.runtime.shortlist import BatchShortlist

Arrays = dict[str, npt.NDArray[Any]]
ENCODED = 16  # sources encoded at a time: of similar length, so that there is little padding
ROOM, SHORT_ROOM = 64, 16  # slots by which KV caches of language models grow, and those of translation models
READ = 512  # tokens read at a time, because logits and attention scores are large
BLOCK = 16  # columns that a product of integers computes at a time
GROUP = 4  # rows by which the number of those that are computed changes
LONG = 256  # tokens: a longer prompt is faster with the decoder than with a stream that has an integer cache


class OnnxState:
    """See `heed.models.runtime.protocol.State`.

    Keys and values are updated in place, because the graphs' outputs are bound to their inputs. A row's prompt is in
    the slots from 0, and tokens of steps follow. If each row has one output, a token attends to everything before it,
    which the graph `stream`, if there is one, computes faster than `decoder`. If the stream's cache is in integers, the
    decoder has a separate one.

    The inputs of a decoder depend on its version and its network: `tgt` or `ids`; `places` or `slots`; positions (T,),
    (1 or B, 1 or T) or (B, T); optionally `predicted`, the tokens after which to predict (default: all); and
    `key_positions`, the positions of tokens in slots, if distances matter.
    """

    def __init__(self, graphs: Graphs) -> None:
        self._graphs = graphs
        self._memory = KVCache(graphs.memory_types, graphs.device, graphs.turned)
        self._decoders = KVCache(graphs.cache_types, graphs.device)
        integers = dict.fromkeys(graphs.cache_names, np.int8)
        self._streams = KVCache(integers, graphs.device) if graphs.rounds else self._decoders
        self._past = self._decoders  # the cache in use
        self._src_mask: BoolArray = np.zeros((0, 0), dtype=bool)
        self._shortlist: BatchShortlist | None = None
        self._lengths: IntArray = np.zeros(0, dtype=np.int64)  # slots of the prompts, without their last tokens
        self._longest, self._are_alike = 0, True  # the largest of them, and whether all are equal
        self._key_positions: IntArray = np.zeros((0, 0), dtype=np.int64)  # positions of tokens in slots, (B, C)
        self._bound: dict[tuple[Any, ...], BoundGraph] = {}  # bound graphs, by graph, shapes and outputs

    def encode(self, src: IntArray, src_mask: BoolArray, needed: Padded | None = None) -> None:
        """See `heed.models.runtime.protocol.State`."""
        B = len(src)
        self._src_mask, self._bound = self._fitting_memory(src_mask), {}
        self._memory.begin(_shape(self._graphs.memory_heads, *self._src_mask.shape))
        encoder = self._graphs.session("encoder")
        lengths = src_mask.sum(axis=1)
        order = np.argsort(lengths, kind="stable")  # so that little padding is encoded
        for rows in np.split(order, range(ENCODED, B, ENCODED)):
            longest = lengths[rows[-1]]
            binding = encoder.io_binding()
            inputs = {"src": src[rows, :longest], "src_mask": src_mask[rows, :longest], "rows": rows}
            bind_arrays(binding, inputs)
            self._memory.bind(binding)
            run(encoder, binding)
        if self._graphs.has_shortlist:
            more = needed or (src[:, :0], src_mask[:, :0])
            sources = {
                name: np.concatenate([array, also], axis=1)
                for name, array, also in zip(("src", "src_mask"), (src, src_mask), more, strict=True)
            }
            found = _outputs(self._graphs.session("shortlist"), sources, self._graphs.device)
            self._shortlist = BatchShortlist(found, self._graphs.decoder_spec.vocab_size, self._graphs.device)

    def _set_lengths(self, lengths: IntArray) -> None:
        self._lengths, self._longest = lengths, int(lengths.max(initial=0))
        self._are_alike = bool((lengths == self._longest).all())

    def _fitting_memory(self, src_mask: BoolArray) -> BoolArray:
        """The mask of sources, (B, S), as that of the memory, (B, M): products of columns want whole blocks of them."""
        more = -src_mask.shape[1] % (BLOCK if self._graphs.turned else 1)
        return np.pad(src_mask, ((0, 0), (0, more))) if more else src_mask

    def prefill(self, prompts: IntArray, prompt_mask: BoolArray, *, alone: bool = False) -> None:
        """See `heed.models.runtime.protocol.State`."""
        B, P = prompts.shape
        self._set_lengths(prompt_mask.sum(axis=1) - 1)
        streams = self._decoders is self._streams or (alone and P <= LONG)
        self._begin(B, self._room(P), self._streams if streams else self._decoders)
        # Slots after a row's prompt are overwritten before they are attended to.
        last, predicted = np.maximum(self._lengths - 1, 0), np.zeros(1, dtype=np.int64)
        size = self._at_once(P if self._by_stream else max(1, READ // B))
        for first in range(0, P - 1, size):
            self._see(prompts[:, first : min(first + size, P - 1)], first, last, predicted, "top_ids", 1)
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
        live: BoolArray | None = None,
    ) -> tuple[FloatArray, IntArray]:
        """See `heed.models.runtime.protocol.State`."""
        if wanted is None:
            log_probs, ids = self._step(tokens, position, slots, mask, ["top_log_probs", "top_ids"], top, live)
            return log_probs.copy(), ids.copy()
        outputs = ["top_log_probs", "top_ids", "log_probs"]
        log_probs, ids, every = self._step(tokens, position, slots, mask, outputs, top, live)
        places, there = self._shortlist.find(wanted) if self._shortlist else (wanted, True)
        more = np.where(there, np.take_along_axis(every, places, axis=2), np.float32(-np.inf))
        return np.concatenate([log_probs, more], axis=2), np.concatenate([ids, wanted], axis=2)

    def log_probs(self, tokens: IntArray, position: int, slots: IntArray | None, mask: BoolArray) -> FloatArray:
        """See `heed.models.runtime.protocol.State`."""
        (log_probs,) = self._step(tokens, position, slots, mask, ["log_probs"], top=0)
        return log_probs

    def forced(self, tgt: IntArray, src_mask: BoolArray | None = None) -> FloatArray:
        """See `heed.models.runtime.protocol.State`."""
        B, T = tgt.shape
        found = np.empty((B, T, self._n_predicted), dtype=np.float32)
        for rows, columns, log_probs in self._read(tgt, src_mask):
            found[rows, columns] = log_probs
        return found

    def score(self, tgt: IntArray, targets: IntArray, src_mask: BoolArray | None = None) -> FloatArray:
        """See `heed.models.runtime.protocol.State`."""
        found = np.empty(tgt.shape, dtype=np.float32)
        for rows, columns, log_probs in self._read(tgt, src_mask):
            wanted = targets[rows, columns, None]
            found[rows, columns] = np.take_along_axis(log_probs, wanted, axis=2)[:, :, 0]
        return found

    def _read(self, tgt: IntArray, src_mask: BoolArray | None) -> Iterator[tuple[slice, slice, FloatArray]]:
        """Read outputs in parts; yields rows, columns, and their log-probabilities, (rows, columns, V).

        Texts of language models are read one by one, because they may be long; targets of sources as a batch.
        """
        B, T = tgt.shape
        self._src_mask = self._src_mask if src_mask is None else self._fitting_memory(src_mask)
        n_rows, size, n_slots = (B, self._at_once(T), T) if self._translates else (1, READ, self._room(T))
        for row in range(0, B, n_rows):
            rows = slice(row, row + n_rows)
            self._begin(n_rows, n_slots, self._decoders)
            for first in range(0, T, size):
                columns = slice(first, min(first + size, T))
                n, last = n_rows * (columns.stop - first), np.full(n_rows, columns.stop - 1)
                log_probs = self._see(tgt[rows, columns], first, last, np.arange(n), "log_probs", 0)
                yield rows, columns, log_probs.reshape(n_rows, -1, log_probs.shape[-1])

    def keep(self, rows: IntArray) -> None:
        """See `heed.models.runtime.protocol.State`."""
        self._bound = {}
        self._set_lengths(self._lengths[rows])
        self._key_positions = self._key_positions[rows]
        self._past.keep(rows)
        if self._translates:
            self._src_mask = self._src_mask[rows]
            self._memory.keep(rows)
        if self._shortlist:
            self._shortlist.keep(rows)

    @property
    def vocabulary(self) -> IntArray:
        """The predicted token ids, (1, V), or with shortlists (1 or B, V')."""
        return self._shortlist.ids if self._shortlist else np.arange(self._graphs.decoder_spec.vocab_size)[None]

    @property
    def _n_predicted(self) -> int:
        """The number of tokens that are predicted, (V or V')."""
        return self._shortlist.n_tokens if self._shortlist else self._graphs.decoder_spec.vocab_size

    @property
    def _translates(self) -> bool:
        """Whether the network has sources."""
        return bool(self._graphs.memory_names)

    @property
    def _by_stream(self) -> bool:
        """Whether keys and values are in the stream's cache."""
        return self._graphs.has_stream and self._past is self._streams

    def _at_once(self, n_tokens: int) -> int:
        """Tokens of a row to read at a time: a recurrence reads them one after another."""
        return 1 if self._graphs.is_recurrent else n_tokens

    def _room(self, n_slots: int) -> int:
        """Slots to allocate: more than needed, because growing copies the cache."""
        size = SHORT_ROOM if self._translates else ROOM
        return -(-n_slots // size) * size

    def _begin(self, n_rows: int, n_slots: int, past: KVCache) -> None:
        self._bound, self._past = {}, past
        self._key_positions = np.zeros((n_rows, 0), dtype=np.int64)
        past.begin(_shape(self._graphs.cache_heads, n_rows, 0))
        self._widen(n_slots)

    def _widen(self, n_slots: int) -> None:
        """Provide at least this many slots."""
        B, C = self._key_positions.shape
        if n_slots > C:
            new = np.broadcast_to(np.arange(C, n_slots), (B, n_slots - C))
            self._key_positions = np.concatenate([self._key_positions, new], axis=1)
            self._past.widen(n_slots)
            self._bound = {}

    def _see(
        self, ids: IntArray, first: int, last: IntArray, predicted: IntArray, output: str, top: int
    ) -> npt.NDArray[Any]:
        """Read tokens, (B, T), into slots from `first`, with causal attention."""
        positions = np.arange(first, first + ids.shape[1])[None]
        if self._by_stream:
            (found,) = self._run_stream(ids, positions, last, predicted, [output], top)
        else:
            slots = np.broadcast_to(positions, ids.shape)
            n_slots = self._key_positions.shape[1]
            mask = np.broadcast_to(np.arange(n_slots) <= positions[:, :, None], (*ids.shape, n_slots))
            (found,) = self._run_decoder(ids, positions, slots, mask, predicted, [output], top)
        return found

    def _round(self) -> None:
        """Hand what the decoder has read over to the stream."""
        session = self._graphs.session("rounding")
        binding = session.io_binding()
        self._past.bind_past(binding)
        self._bound, self._past = {}, self._streams
        self._past.begin(_shape(self._graphs.cache_heads, len(self._lengths), self._key_positions.shape[1]))
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
        live: BoolArray | None = None,
    ) -> list[npt.NDArray[Any]]:
        B, W = tokens.shape
        n = W if slots is None else 1  # tokens of a row that follow each other
        alike = self._lengths[: 1 if self._are_alike else B]
        positions = alike[:, None] + np.arange(position, position + n)
        if self._graphs.context is not None:  # an ended row may stay beyond the context
            positions = np.minimum(positions, self._graphs.context - 1)
        self._widen_for(self._longest + max(position + n, mask.shape[2]))
        # one text per row, in the first slots
        if self._by_stream and (slots is None or (W == 1 and (slots == position).all())):
            last = np.broadcast_to(positions[:, -1], B)
            found = self._run_stream(tokens, positions, last, np.arange(B * W), outputs, top)
        else:
            slots, mask = self._alone(tokens, position) if slots is None else (slots, mask)
            places, seen = self._lengths[:, None] + slots if self._longest else slots, self._seen(mask)
            found = self._run_decoder(tokens, positions, places, seen, np.arange(B * W), outputs, top, live)
        return [array.reshape(B, W, -1) for array in found]

    def _widen_for(self, n_slots: int) -> None:
        if n_slots > self._key_positions.shape[1]:
            self._widen(self._room(n_slots))

    @staticmethod
    def _alone(tokens: IntArray, position: int) -> tuple[IntArray, BoolArray]:
        """The slots of the tokens of each row's only output, and their mask."""
        W = tokens.shape[1]
        slots = np.broadcast_to(np.arange(position, position + W), tokens.shape)
        return slots, np.arange(position + W) <= slots[:, :, None]

    def _seen(self, mask: BoolArray) -> BoolArray:
        """The slots that each token attends to, (B, W, C): its prompt's, and those of the mask."""
        (B, W, n_read), n_slots = mask.shape, self._key_positions.shape[1]
        if n_read == n_slots and not self._longest:
            return mask
        seen = np.zeros((B, W, n_slots), dtype=bool)
        for row, length in enumerate(self._lengths.tolist()):
            seen[row, :, :length] = True
            seen[row, :, length : length + n_read] = mask[row]
        return seen

    def _run_stream(
        self, ids: IntArray, positions: IntArray, last: IntArray, predicted: IntArray, outputs: list[str], top: int
    ) -> list[npt.NDArray[Any]]:
        if self._graphs.sees_distances:  # the stream writes a token to the slot of its position
            at = np.broadcast_to(positions, ids.shape)
            np.put_along_axis(self._key_positions, at, at, axis=1)
        slots = last.astype(np.int32)
        arrays: Arrays = {"ids": ids, "positions": np.broadcast_to(positions, ids.shape)}
        arrays |= {"last": slots, "total": slots.max(keepdims=True) + 1}
        return self._run("stream", arrays, predicted, outputs, top)

    def _run_decoder(
        self,
        ids: IntArray,
        positions: IntArray,
        slots: IntArray,
        mask: BoolArray,
        predicted: IntArray,
        outputs: list[str],
        top: int,
        live: BoolArray | None = None,
    ) -> list[npt.NDArray[Any]]:
        """Read tokens, (B, T), at positions (1 or B, 1 or T), with a mask."""
        taken = self._graphs.inputs("decoder")
        if self._graphs.sees_distances:
            np.put_along_axis(self._key_positions, slots, np.broadcast_to(positions, ids.shape), axis=1)
        arrays: Arrays = {
            "tgt" if "tgt" in taken else "ids": ids,
            "positions": _fitting(positions, taken["positions"], ids.shape),
            "mask": mask,
        }
        if "places" in taken:
            arrays["places"] = places_of(slots, self._graphs.cache_heads[0])
        else:
            arrays["slots"] = slots
        if "key_positions" in taken:
            arrays["key_positions"] = self._key_positions
        if "tokens" not in taken:
            return self._run("decoder", arrays, predicted if "predicted" in taken else None, outputs, top)
        computed, rows = _computed(ids.shape, live)
        found = self._run("decoder", arrays | {"tokens": computed, "rows": rows}, None, outputs, top)
        return found if len(computed) == ids.size else [array[rows.ravel()] for array in found]

    def _run(
        self, graph: str, arrays: Arrays, predicted: IntArray | None, outputs: list[str], top: int
    ) -> list[npt.NDArray[Any]]:
        """The outputs of a graph, in memory that is overwritten; with `top` 0, without the best candidates."""
        n = None if predicted is None else len(predicted)
        key = (graph, top, n, *(array.shape for array in arrays.values()), *outputs)
        if key not in self._bound:  # part of the key, so it need not be written again
            fixed: Arrays = {"top": np.array([min(top, self._n_predicted)])}
            fixed |= {} if predicted is None else {"predicted": predicted}
            fixed |= {"src_mask": self._src_mask} if self._translates else {}
            self._bound[key] = self._bind(graph, arrays | fixed, outputs)
        return self._bound[key].run(arrays)

    def _bind(self, graph: str, arrays: Arrays, outputs: list[str]) -> BoundGraph:
        session = self._graphs.session(graph)
        binding = session.io_binding()
        chosen = self._shortlist.values if self._shortlist else {}
        for name, value in {**self._memory.values, **chosen}.items():
            binding.bind_ortvalue_input(name, value)
        self._past.bind(binding)
        counted = next((arrays[name] for name in ("predicted", "tokens") if name in arrays), None)
        before = arrays["mask"].shape[:2] if counted is None else counted.shape
        V = self._n_predicted
        top = int(arrays["top"][0])
        kinds = {"top_log_probs": (top, np.float32), "top_ids": (top, np.int64), "log_probs": (V, np.float32)}
        memory = {name: np.empty((*before, kinds[name][0]), kinds[name][1]) for name in outputs}
        return BoundGraph(session, binding, self._graphs.device, arrays, memory)


def _shape(heads: tuple[int, int], n_rows: int, n_slots: int) -> tuple[int, int, int, int]:
    """The shape of a cache with heads of a width, (B, H, C, K)."""
    n_heads, width = heads
    return n_rows, n_heads, n_slots, width


def _computed(shape: tuple[int, ...], live: BoolArray | None) -> tuple[IntArray, IntArray]:
    """The numbers of the tokens, (B, T), that are computed, and the row of each among them: the first for the others.

    Some more are computed than are live, so that few sizes occur: a graph is bound to memory of a size.
    """
    n, live_ones = shape[0] * shape[1], np.flatnonzero(live) if live is not None else None
    size = n if live_ones is None else -(-len(live_ones) // GROUP) * GROUP
    if live_ones is None or size >= n:
        return np.arange(n), np.arange(n).reshape(shape)
    rows = np.zeros(n, dtype=np.int64)
    rows[live_ones] = np.arange(len(live_ones))
    return np.resize(live_ones, size), rows.reshape(shape)


def _fitting(positions: IntArray, taken: list[int | str], shape: tuple[int, ...]) -> IntArray:
    """Positions, (1 or B, 1 or T), in the shape that a graph expects."""
    if len(taken) > 1:
        return positions if taken[0] == "1 or B" else np.broadcast_to(positions, shape)
    if len(positions) > 1:
        raise ModelError("this model needs prompts of equal length; export it again")
    return positions[0]


def _outputs(session: onnxruntime.InferenceSession, arrays: dict[str, Any], device: str) -> dict[str, OrtValue]:
    """All outputs of a graph, in device memory."""
    binding, names = session.io_binding(), [output.name for output in session.get_outputs()]
    bind_arrays(binding, arrays)
    for name in names:
        binding.bind_output(name, device)
    run(session, binding)
    return dict(zip(names, binding.get_outputs(), strict=True))
