"""The shortlists of a batch's sentences: the tokens that a decoder predicts."""

from functools import cached_property

import numpy as np
from onnxruntime import OrtValue

from heed.models.arrays import BoolArray, IntArray
from heed.models.runtime.kv_cache import moves

BY_SENTENCE = ("shortlist_places", "shortlist_mask")


class BatchShortlist:
    """The shortlists of a batch, as the graph `shortlist` puts them out.

    Args:
        values: Its outputs, by name; they are inputs of the decoder. Older graphs have no `shortlist_places`: a decoder
            predicts over the tokens of all sentences, and refuses those of others.
        vocab_size: The number of all tokens (V).
        device: Where they are.
    """

    def __init__(self, values: dict[str, OrtValue], vocab_size: int, device: str) -> None:
        self._vocab_size, self._device = vocab_size, device
        # In memory of their own, which `keep` may write.
        self._own = {name: np.array(values[name].numpy()) for name in BY_SENTENCE if name in values}
        self.values = values | {name: OrtValue.ortvalue_from_numpy(array, device) for name, array in self._own.items()}

    @property
    def n_tokens(self) -> int:
        """The number of tokens that the decoder predicts (V')."""
        own = self.values.get("shortlist_places")
        return self._n_always + (self._n_others if own is None else own.shape()[1])

    @property
    def _n_others(self) -> int:
        # With a scale for each column, these are (D, N), else (N, D).
        return self.values.get("shortlist_scales", self.values["shortlist_columns"]).shape()[0]

    @property
    def _n_always(self) -> int:
        return self.values["shortlist_ids"].shape()[0] - self._n_others

    @cached_property
    def ids(self) -> IntArray:
        """The tokens that the decoder predicts, (1 or B, V'); a sentence's padding has the log-probability -inf."""
        every: IntArray = self.values["shortlist_ids"].numpy()
        if "shortlist_places" not in self.values:
            return every[None]
        n_always, own = self._n_always, self.values["shortlist_places"].numpy()
        always = np.broadcast_to(every[:n_always], (len(own), n_always))
        return np.concatenate([always, every[n_always:][own]], axis=1)

    def find(self, tokens: IntArray) -> tuple[IntArray, BoolArray]:
        """The indices of tokens, (B, W, N), among those that are predicted, and which are among them at all."""
        indices = self._indices[np.arange(len(tokens))[:, None, None], tokens]
        return np.maximum(indices, 0), indices >= 0

    @cached_property
    def _indices(self) -> IntArray:
        """The index of each token, -1 if it is not predicted: (B, V)."""
        mask = self.values["shortlist_mask"].numpy()
        n_rows, V = len(mask), self.ids.shape[1]
        ids = np.broadcast_to(self.ids, (n_rows, V))
        real = np.ones(ids.shape, dtype=bool)
        real[:, V - mask.shape[-1] :] = np.isfinite(mask.reshape(n_rows, -1))
        found = np.full((n_rows, self._vocab_size), -1)
        rows, columns = np.nonzero(real)
        found[rows, ids[rows, columns]] = columns
        return found

    def keep(self, rows: IntArray) -> None:
        """Keep only the shortlists of these rows, in this order."""
        places, origins = moves(rows)
        for name, array in self._own.items():
            array[places] = array[origins]
            self._own[name] = array[: len(rows)]
            self.values[name] = OrtValue.ortvalue_from_numpy(self._own[name], self._device)
        for cached in ("ids", "_indices"):
            self.__dict__.pop(cached, None)
