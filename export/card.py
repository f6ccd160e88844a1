"""The model card: a bundle's manifest in words."""

import math

from heed.models.config import ModelConfig
from heed.models.manifest import Manifest, Parity, Quality


def write_card(manifest: Manifest) -> str:
    """The text of a bundle's README.md."""
    network = manifest.network
    languages = f"{manifest.src_language or 'source'} → {manifest.tgt_language or 'target'}"
    sections = [
        f"# {manifest.name}\n",
        f"A Transformer that translates {languages}, for heed:\n",
        f"    heed translate -m {manifest.name}\n",
        f"Made by heed {manifest.heed}, bundle format {manifest.format}. Products in {manifest.precision}.\n",
        "## Network\n",
        _network(network),
        "## Training text\n",
        f"{manifest.trained_on or 'Not stated.'}\n",
        f"Licence of the model: {manifest.licence or 'not stated'}.\n",
        "## Quality\n",
        _quality(manifest.quality) if manifest.quality else "Not measured at the export.\n",
        "## Equal to the network in PyTorch\n",
        _parity(manifest.parity),
    ]
    return "\n".join(sections)


def _network(network: ModelConfig) -> str:
    return (
        f"{network.n_layers} + {network.n_layers} layers, d_model {network.d_model}, d_ff {network.d_ff}, "
        f"{network.n_heads} heads, layer norm {'after' if network.norm == 'post' else 'before'} each sub-layer, "
        f"vocabulary {network.src_vocab_size:,}"
        + ("" if network.src_vocab_size == network.tgt_vocab_size else f" and {network.tgt_vocab_size:,}")
        + f", {'one shared' if network.tied_embeddings else 'three separate'} embedding "
        f"{'matrix' if network.tied_embeddings else 'matrices'}.\n"
    )


def _quality(quality: Quality) -> str:
    whole = "" if quality.bleu_whole is None else f"| BLEU over the whole vocabulary | {quality.bleu_whole:.2f} |\n"
    return (
        f"{quality.test_set}, {quality.sentences:,} sentences, beam {quality.beam_size}:\n\n"
        "| | |\n|---|---|\n"
        f"| BLEU | {quality.bleu:.2f} |\n"
        f"| chrF | {quality.chrf:.2f} |\n"
        f"{whole}"
        f"| BLEU before the export (PyTorch, float32) | {quality.bleu_torch:.2f} |\n\n"
        f"sacreBLEU's signatures: `{quality.bleu_signature}`, `{quality.chrf_signature}`.\n"
    )


def _parity(parity: Parity) -> str:
    return (
        f"Measured at the export over {parity.sentences} sentences of the validation text, ONNX Runtime against "
        "PyTorch in float32:\n\n"
        "| | |\n|---|---|\n"
        f"| the same greedy translations | {parity.greedy_identical} of {parity.sentences} |\n"
        f"| the same translations by beam {parity.beam_size} | {parity.beam_identical} of {parity.sentences} |\n"
        f"| largest difference of a log-probability | {parity.log_prob_difference:.2g} |\n"
        f"| perplexity of the references, PyTorch | {math.exp(parity.loss_torch):.4f} |\n"
        f"| perplexity of the references, this bundle | {math.exp(parity.loss_bundle):.4f} |\n"
    )
