"""Filling masks: the likeliest tokens in the places of a text that are masked."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from heed.models.arrays import FloatArray
from heed.models.decoding.batching import padded, plan_batches
from heed.models.errors import DataError
from heed.models.records import record
from heed.models.runtime.protocol import Encoder
from heed.models.system.processor import available_cores
from heed.models.tokenizers.reader import Reader

BATCH_SIZE = 16  # texts encoded together, at most
SPACE = "\u2581"
MASK, SPELLINGS = "[MASK]", re.compile(r"\[MASK\]|<mask>")  # how a text may write a mask, whatever the model calls it


@record(frozen=True)
class Candidate:
    """A token in the place of a mask."""

    token: int
    piece: str  # its text, with "▁" for the space before it
    probability: float
    text: str  # the whole text with this token; its other masks stay


class Filler:
    """Fills masks.

    Args:
        encoder: In ONNX Runtime or in PyTorch.
        reader: The model's, which has a mask.
    """

    def __init__(self, encoder: Encoder, reader: Reader) -> None:
        assert encoder.spec.encoder is not None, "an encoder alone"
        self._encoder, self._reader = encoder, reader
        self._mask_id, self._limit = reader.require_mask("the model"), encoder.spec.encoder.n_positions

    @classmethod
    def load(cls, path: Path, *, device: str = "cpu", threads: int | None = None) -> "Filler":
        """Load a bundle.

        Raises:
            ModelError: The bundle is damaged, has a later format or another task, or the device cannot be used.
        """
        from heed.models.bundle.bundle import Bundle

        with Bundle.loading(path) as bundle:
            bundle.require("fill")
            encoder = bundle.encoder(device=device, threads=threads or available_cores())
            return cls(encoder, bundle.reader())

    def fill(self, texts: Sequence[str], n_best: int = 5, batch_size: int = BATCH_SIZE) -> list[list[list[Candidate]]]:
        """The best candidates for each mask of each text, likeliest first.

        Masks are predicted independently, each in a text where the others stay masked.

        Raises:
            DataError: A text has no mask, or is longer than the network reads.
        """
        texts = [SPELLINGS.sub(lambda _: self._reader.mask, text) for text in texts]
        rows = self._reader.encode(texts)
        for row in rows:
            if self._mask_id not in row:
                raise DataError(f"no mask to fill; write {MASK} in its place")
            if self._limit is not None and len(row) > self._limit:
                raise DataError(f"{len(row):,} tokens, and the model reads {self._limit:,} at most; shorten the text")
        found: list[list[list[Candidate]]] = [[] for _ in rows]
        for batch in plan_batches([len(row) for row in rows], batch_size):
            ids, mask = padded([rows[i] for i in batch])
            places = np.argwhere(ids == self._mask_id)
            log_probs = self._encoder.log_probs(self._encoder.encode(ids, mask)[places[:, 0], places[:, 1]])
            for row, of_mask in zip(places[:, 0], log_probs, strict=True):
                number = batch[int(row)]
                found[number].append(self._candidates(texts[number], len(found[number]), of_mask, n_best))
        return found

    def _candidates(self, text: str, number: int, log_probs: FloatArray, n_best: int) -> list[Candidate]:
        """The best candidates for a mask of a text, by its number, from log-probabilities, (V,)."""
        best = np.argsort(-log_probs, kind="stable")[:n_best]
        parts = self._reader.parts(text)
        pieces = {int(token): self._reader.piece(int(token)) for token in best}
        return [
            Candidate(token, piece, float(np.exp(log_probs[token])), _filled(parts, number, piece, self._reader.mask))
            for token, piece in pieces.items()
        ]


def _filled(parts: list[str], number: int, piece: str, mask: str) -> str:
    """A text of these parts between masks, with a piece in the place of one of them."""
    masks = [f" {mask}"] * (len(parts) - 1)
    masks[number] = piece.replace(SPACE, " ")
    return "".join(map("".join, zip(parts, [*masks, ""], strict=True))).strip()
