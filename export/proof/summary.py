"""The comparison of a bundle with PyTorch in words."""

from heed.models.bundle.manifest import Manifest, Parity, VectorParity


def summary(manifest: Manifest) -> list[str]:
    """A line for each kind of comparison."""
    found = [_predictions(manifest.parity)] if manifest.parity else []
    return found + ([_vectors(manifest.vectors)] if manifest.vectors else [])


def _predictions(parity: Parity) -> str:
    texts = f"{parity.texts} texts of {parity.tokens:,} tokens: "
    if parity.beam_size is None:
        texts = f"{parity.texts} texts with {parity.tokens:,} masks: {parity.greedy_identical} have "
        outputs = "the same likeliest tokens as PyTorch's"
    else:
        outputs = (
            f"{parity.greedy_identical} greedy and {parity.beam_identical} beam {parity.beam_size} outputs the same as "
            "PyTorch's"
        )
    bits = "" if parity.bits_per_byte is None else f"; {parity.bits_per_byte:.4f} bits a byte"
    return (
        f"{texts}{outputs}; log-probabilities differ by at most {parity.log_prob_difference:.2g}; "
        f"loss {parity.loss_bundle:.4f}, PyTorch's {parity.loss_torch:.4f}{bits}"
    )


def _vectors(vectors: VectorParity) -> str:
    return (
        f"Vectors of {vectors.texts} texts: cosines of all pairs differ from PyTorch's by at most "
        f"{vectors.cosine_difference:.2g}; the two vectors of a text have a cosine of at least "
        f"{vectors.least_cosine:.6f}; {vectors.nearest_identical} texts have the same nearest other text"
    )
