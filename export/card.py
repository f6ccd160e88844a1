"""The model card: a bundle's manifest in words."""

import math

from heed.models.bundle.manifest import Manifest, Parity, Quality, TextManifest, TextParity, TranslationManifest
from heed.models.spec.config import LanguageModelConfig, ModelConfig


def write_card(manifest: TranslationManifest) -> str:
    """The text of the README.md of a bundle that translates."""
    languages = f"{manifest.src_language or 'source'} → {manifest.tgt_language or 'target'}"
    sections = [
        *_head(manifest, f"A Transformer that translates {languages}", f"heed translate -m {manifest.name}"),
        _network(manifest.network),
        *_origin(manifest),
        "## Quality\n",
        _quality(manifest.quality) if manifest.quality else "Not measured at the export.\n",
        "## Equal to the network in PyTorch\n",
        _parity(manifest.parity),
    ]
    return "\n".join(sections)


def write_text_card(manifest: TextManifest) -> str:
    """The text of the README.md of a bundle that goes on with text."""
    sections = [
        *_head(
            manifest, "A Transformer that goes on with text", f'heed generate -m {manifest.name} "Once upon a time"'
        ),
        _language_model(manifest.network),
        *_origin(manifest),
        "## Quality, and equal to the network in PyTorch\n",
        _text_parity(manifest.parity),
    ]
    return "\n".join(sections)


def _head(manifest: Manifest, what: str, command: str) -> list[str]:
    return [
        f"# {manifest.name}\n",
        f"{what}, for heed:\n",
        f"    {command}\n",
        f"Made by heed {manifest.heed}, bundle format {manifest.format}. Products in {manifest.precision}.\n",
        "## Network\n",
    ]


def _origin(manifest: Manifest) -> list[str]:
    return [
        "## Training text\n",
        f"{manifest.trained_on or 'Not stated.'}\n",
        f"Licence of the model: {manifest.licence or 'not stated'}.\n",
    ]


def _language_model(network: LanguageModelConfig) -> str:
    shared = "" if network.n_kv_heads == network.n_heads else f" that share {network.n_kv_heads} of keys and values"
    return (
        f"{network.n_layers} layers, d_model {network.d_model}, d_ff {network.d_ff} ({network.activation}), "
        f"{network.n_heads} heads{shared}, {network.positions} positions, {network.norm} norm before each sub-layer, "
        f"context {network.context:,} tokens, vocabulary {network.vocab_size:,}, one embedding matrix for input and "
        "output.\n"
    )


def _text_parity(parity: TextParity) -> str:
    return (
        f"Measured at the export over {parity.tokens:,} tokens of the validation text in {parity.texts} texts, ONNX "
        "Runtime against PyTorch in float32:\n\n"
        "| | |\n|---|---|\n"
        f"| perplexity of a token, PyTorch | {math.exp(parity.loss_torch):.3f} |\n"
        f"| perplexity of a token, this bundle | {math.exp(parity.loss_bundle):.3f} |\n"
        f"| bits a byte, this bundle | {parity.bits_per_byte:.4f} |\n"
        f"| texts that both go on with by the same tokens, greedily | {parity.greedy_identical} of {parity.texts} |\n"
        f"| largest difference of a token's log-probability | {parity.log_prob_difference:.2g} |\n"
    )


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
