"""Embedding: one vector for each text."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from heed.models.arrays import BoolArray, FloatArray
from heed.models.decoding.batching import padded, plan_batches
from heed.models.runtime.protocol import Encoder
from heed.models.spec.embedding import EmbeddingSpec
from heed.models.system.processor import available_cores
from heed.models.tokenizers.reader import Reader

BATCH_SIZE = 64  # texts encoded together, at most
# Pooling of states, (B, S, D), at real tokens, (B, S): (B, D).
POOLINGS: Mapping[str, Callable[[FloatArray, BoolArray], FloatArray]] = {
    "mean": lambda states, mask: (states * mask[:, :, None]).sum(axis=1) / mask.sum(axis=1, keepdims=True),
    "first": lambda states, mask: states[:, 0],  # noqa: ARG005 - no text is empty
    "last": lambda states, mask: states[np.arange(len(mask)), mask.sum(axis=1) - 1],
    "max": lambda states, mask: np.where(mask[:, :, None], states, -np.inf).max(axis=1),
}


def pooled(states: FloatArray, mask: BoolArray, spec: EmbeddingSpec) -> FloatArray:
    """Vectors of texts, (B, D), from states, (B, S, D), and a mask that is True at real tokens, (B, S)."""
    vectors = POOLINGS[spec.pooling](states, mask).astype(np.float32)
    return unit(vectors) if spec.normalize else vectors


def unit(vectors: FloatArray) -> FloatArray:
    """Vectors, (…, D), scaled to length 1; one of length 0 stays."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    scaled: FloatArray = vectors / np.maximum(lengths, np.finfo(np.float32).tiny)
    return scaled


class Embedder:
    """Embeds texts.

    Args:
        encoder: In ONNX Runtime or in PyTorch.
        reader: The model's.
        spec: Pooling and normalization.
        prefix: Text that every text begins with.
    """

    def __init__(self, encoder: Encoder, reader: Reader, spec: EmbeddingSpec, *, prefix: str = "") -> None:
        assert encoder.spec.encoder is not None, "an encoder alone"
        self._encoder, self._reader, self._spec = encoder, reader, spec
        self.prefix, self.d_model = prefix, encoder.spec.d_model
        limits = [limit for limit in (spec.max_tokens, encoder.spec.encoder.n_positions) if limit is not None]
        self.max_tokens = min(limits, default=None)
        self.n_cut = 0  # texts that were longer

    @classmethod
    def load(
        cls, path: Path, *, device: str = "cpu", threads: int | None = None, prefix: str | None = None
    ) -> "Embedder":
        """Load a bundle.

        Args:
            path: Its directory.
            device: "cpu" or "cuda".
            threads: CPU threads; None: as many as the cores that this process may use.
            prefix: Text that every text begins with, or the name of a task for which the model has such a text; None:
                the model's default.

        Raises:
            ModelError: The bundle is damaged, has a later format or another task, or the device cannot be used.
        """
        from heed.models.bundle.bundle import Bundle

        with Bundle.loading(path) as bundle:
            manifest = bundle.require("embed", "fill")
            encoder = bundle.encoder(device=device, threads=threads or available_cores())
            conventions = manifest.conventions
            prefixes = (conventions.prefixes if conventions else None) or {}
            usual = (conventions.prefix if conventions else None) or ""
            chosen = usual if prefix is None else prefixes.get(prefix, prefix)
            return cls(encoder, bundle.reader(), manifest.embedding or EmbeddingSpec(), prefix=chosen)

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """Numbers of tokens of texts, with the prefix and special ones, before any is cut."""
        return [len(row) for row in self._reader.encode([self.prefix + text for text in texts])]

    def embed(self, texts: Sequence[str], batch_size: int = BATCH_SIZE) -> FloatArray:
        """The vectors of texts, (N, D)."""
        rows = self._reader.encode([self.prefix + text for text in texts])
        if (longest := self.max_tokens) is not None:
            self.n_cut += sum(len(row) > longest for row in rows)
            rows = [self._reader.cut(row, longest) for row in rows]
        found = np.zeros((len(rows), self.d_model), dtype=np.float32)
        for batch in plan_batches([len(row) for row in rows], batch_size):
            ids, mask = padded([rows[i] for i in batch])
            found[batch] = pooled(self._encoder.encode(ids, mask), mask, self._spec)
        return found
