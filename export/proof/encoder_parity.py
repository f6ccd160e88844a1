"""Parity of encoders alone: the vectors of texts, and what is predicted in the place of masks."""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from heed.export.proof import parity
from heed.export.proof.parity import BATCH_SIZE, TIE
from heed.models.arrays import BoolArray, FloatArray, IntArray
from heed.models.bundle.manifest import Parity, VectorParity
from heed.models.decoding.batching import padded, plan_batches
from heed.models.decoding.config import AlignmentHeads
from heed.models.errors import ModelError
from heed.models.runtime.protocol import Encoder
from heed.models.spec.embedding import EmbeddingSpec
from heed.models.tasks.embedder import pooled, unit

SHARE = 0.15  # of the tokens that are masked, as in training
COSINE_LIMIT = 1e-4  # in float32: largest difference of the cosine of two texts
# Smallest cosine of the vectors of a text, by the precision of products.
LEAST_COSINES = {"float16": 0.999, "int8": 0.95, "int4": 0.8}

Sides = tuple[Encoder, Encoder]  # the network in float32, and what is compared with it


@dataclasses.dataclass(frozen=True)
class Proof:
    """What was compared, and chosen by it."""

    parity: Parity | None = None  # of predictions
    vectors: VectorParity | None = None
    alignment: AlignmentHeads | None = None


@dataclasses.dataclass(frozen=True)
class Masked:
    """Predictions in the place of masks, by both sides."""

    texts: int
    n_identical: int  # texts of which both have the same likeliest tokens, near-ties among them
    n_ties: int
    n_masks: int
    n_likeliest: int  # masks with the same likeliest token
    log_prob_difference: float
    losses: tuple[float, float]  # mean negative log-likelihood of the masked tokens, in nats


def prove(sides: Sides, rows: Sequence[list[int]], spec: EmbeddingSpec, mask_id: int | None) -> Proof:
    """Compare an exported encoder with its original.

    Args:
        sides: The network in PyTorch, in float32, and the exported one.
        rows: Texts as they are read, with special tokens.
        spec: How states become vectors.
        mask_id: The mask; None: the encoder predicts nothing.
    """
    vectors = compare_vectors(sides, rows, spec)
    if mask_id is None:
        return Proof(None, vectors)
    found = compare_masked(sides, rows, mask_id)
    predictions = Parity(
        texts=found.texts,
        tokens=found.n_masks,
        greedy_identical=found.n_identical,
        near_ties=found.n_ties,
        log_prob_difference=found.log_prob_difference,
        loss_torch=found.losses[0],
        loss_bundle=found.losses[1],
    )
    return Proof(predictions, vectors)


def require(proof: Proof, precision: str) -> None:
    """Refuse an export that differs from its original.

    Raises:
        ModelError: States the figure that is out of bounds.
    """
    if proof.parity:
        parity.require(proof.parity, precision)
    vectors = proof.vectors
    assert vectors is not None, "an encoder makes vectors"
    if precision == "float32" and not vectors.cosine_difference <= COSINE_LIMIT:
        raise ModelError(
            f"the export is refused: the cosine of two texts differs from PyTorch's by "
            f"{vectors.cosine_difference:.2g}, more than {COSINE_LIMIT:g}: the graphs are wrong; report it with the "
            "network's description"
        )
    if not vectors.least_cosine >= LEAST_COSINES.get(precision, 0.0):
        raise ModelError(
            f"the export is refused: in {precision} the vector of a text has a cosine of {vectors.least_cosine:.4f} "
            f"with that in float32, less than {LEAST_COSINES[precision]:g}; export with a higher precision"
        )


def compare_vectors(sides: Sides, rows: Sequence[list[int]], spec: EmbeddingSpec) -> VectorParity:
    """Compare the vectors of texts."""
    theirs, ours = (_vectors(side, rows, spec) for side in sides)
    cosines = [each @ each.T for each in (theirs, ours)]
    nearest = [np.where(np.eye(len(each), dtype=bool), -np.inf, each).argmax(axis=1) for each in cosines]
    return VectorParity(
        texts=len(rows),
        tokens=sum(map(len, rows)),
        nearest_identical=int((nearest[0] == nearest[1]).sum()),
        cosine_difference=float(np.abs(cosines[0] - cosines[1]).max()),
        least_cosine=float((theirs * ours).sum(axis=1).min()),
    )


def _vectors(encoder: Encoder, rows: Sequence[list[int]], spec: EmbeddingSpec) -> FloatArray:
    """The vectors of texts with length 1, (N, D)."""
    found = np.zeros((len(rows), encoder.spec.d_model), dtype=np.float32)
    for batch in _batches(rows):
        ids, mask = padded([rows[i] for i in batch])
        found[batch] = unit(pooled(encoder.encode(ids, mask), mask, spec))
    return found


def compare_masked(sides: Sides, rows: Sequence[list[int]], mask_id: int | None) -> Masked:
    """Compare what is predicted where some tokens are masked, the same ones for both sides."""
    assert mask_id is not None, "an encoder that predicts has a mask"
    random, difference, losses = np.random.default_rng(1), 0.0, [0.0, 0.0]
    counts = np.zeros(4, dtype=int)
    for batch in _batches(rows):
        ids, mask = padded([rows[i] for i in batch])
        masked, places = masked_rows(ids, mask, mask_id, random)
        theirs, ours = (side.log_probs(side.encode(masked, mask)[places]) for side in sides)
        targets = ids[places][:, None]
        difference = float(np.maximum(difference, np.abs(theirs - ours).max()))  # keeps a NaN
        for number, found in enumerate((theirs, ours)):
            losses[number] -= float(np.take_along_axis(found, targets, axis=1).sum(dtype=np.float64))
        best = [found.argmax(axis=1) for found in (theirs, ours)]
        same, every = best[0] == best[1], np.arange(len(targets))
        ties = ~same & (theirs[every, best[0]] - theirs[every, best[1]] <= TIE)
        differing = np.unique(places[0][~same & ~ties])
        counts += [len(batch) - len(differing), ties.sum(), len(targets), same.sum()]
    n_identical, n_ties, n_masks, n_likeliest = counts.tolist()
    means = losses[0] / n_masks, losses[1] / n_masks
    return Masked(len(rows), n_identical, n_ties, n_masks, n_likeliest, difference, means)


def masked_rows(
    ids: IntArray, mask: BoolArray, mask_id: int, random: np.random.Generator
) -> tuple[IntArray, tuple[IntArray, IntArray]]:
    """Token ids, (B, S), with masks in some places, and these places: at least one a row, and never its ends."""
    inner = mask.copy()
    inner[:, 0] = False
    inner[np.arange(len(mask)), mask.sum(axis=1) - 1] = False
    draws = np.where(inner, random.random(ids.shape), np.inf)
    chosen = inner & ((draws < SHARE) | (draws == draws.min(axis=1, keepdims=True)))
    rows, columns = np.nonzero(chosen)
    return np.where(chosen, mask_id, ids), (rows, columns)


def _batches(rows: Sequence[list[int]]) -> Iterator[list[int]]:
    yield from plan_batches([len(row) for row in rows], BATCH_SIZE)
