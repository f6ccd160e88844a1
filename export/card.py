"""The model card, written from a bundle's manifest."""

import math

from heed.models.bundle.manifest import Manifest, Parity, Quality, VectorParity
from heed.models.spec.network import NetworkSpec
from heed.models.spec.stack import StackSpec
from heed.models.tasks.task import TASKS


def write_card(manifest: Manifest) -> str:
    """The text of a bundle's README.md."""
    task = TASKS[manifest.task]
    languages = [manifest.src_language or "source", manifest.tgt_language or "target"]
    between = f", {' → '.join(languages)}" if manifest.network.encoder and manifest.network.decoder else ""
    command = f"heed {manifest.task} -m {manifest.name} {task.example}".rstrip()
    sections = [
        f"# {manifest.name}\n",
        f"A Transformer that {task.does}{between}, for heed:\n",
        f"    {command}\n",
        f"Made by heed {manifest.heed}, bundle format {manifest.format}. Matrix products in {manifest.precision}.\n",
        "## Network\n",
        _network(manifest.network),
        "## Training text\n",
        f"{manifest.trained_on or 'Not stated.'}\n",
        f"Licence of the model: {manifest.licence or 'not stated'}.\n",
        *(["## Quality\n", _quality(manifest.quality)] if manifest.quality else []),
        "## Parity with PyTorch\n",
        *([_parity(manifest.parity)] if manifest.parity else []),
        *([_vectors(manifest.vectors)] if manifest.vectors else []),
        *(["## Origin\n", _origin(manifest)] if manifest.origin else []),
    ]
    return "\n".join(sections)


def _network(spec: NetworkSpec) -> str:
    stacks = "".join(f"- {name}: {_stack(stack)}\n" for name, stack in spec.stacks.items())
    matrices = ["one shared embedding matrix"] if spec.encoder and spec.shared_embedding else []
    matrices += [f"{'tied' if spec.tied_output else 'separate'} output matrix"]
    return f"Width (d_model) {spec.d_model}; {', '.join(matrices)}.\n\n{stacks}"


def _stack(spec: StackSpec) -> str:
    attention, feed_forward, norm = spec.attention, spec.feed_forward, spec.norm
    shared = f", {attention.n_kv_heads} key-value heads" if attention.n_kv_heads != attention.n_heads else ""
    limit = "" if spec.n_positions is None else f" (at most {spec.n_positions:,} tokens)"
    gated = "gated " if feed_forward.gated else ""
    recurrent = "" if spec.recurrence is None else f" and {spec.recurrence.upper()} in place of self-attention"
    return (
        f"{spec.n_layers} layers, {attention.n_heads} heads{shared}{recurrent}, "
        f"feed-forward width (d_ff) {feed_forward.d_ff}, "
        f"{gated}{feed_forward.activation}, {norm.kind} norm {norm.placement} each sub-layer, "
        f"{spec.positions.kind} positions{limit}, {spec.vocab_size:,} pieces"
    )


def _origin(manifest: Manifest) -> str:
    compared = manifest.compared
    if compared is None:
        return f"Imported from {manifest.origin}. It was not compared with another program's results.\n"
    n_texts = compared.ids_texts or compared.texts
    ids = "" if compared.ids_identical is None else f" {compared.ids_identical} of {n_texts} texts have the same ids."
    found = []
    if compared.cosine_difference is not None:
        found.append(f"the cosines of all pairs of texts differ by at most {compared.cosine_difference:.2g}")
    if compared.log_prob_difference is not None:
        what = "next token is the same after" if manifest.network.decoder else "token is the same in the place of"
        found += [
            f"log-probabilities differ by at most {compared.log_prob_difference:.2g}",
            f"the likeliest {what} {compared.likeliest_identical:,} tokens",
        ]
    return (
        f"Imported from {manifest.origin}, and compared with {compared.reference} on {compared.texts} texts of "
        f"{compared.tokens:,} tokens: {', and '.join(found)}.{ids}\n"
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
    searched = {
        "identical greedy outputs": f"{parity.greedy_identical} of {parity.texts}",
        f"identical outputs with beam {parity.beam_size}": f"{parity.beam_identical} of {parity.texts}",
    }
    filled = {"texts with the same likeliest tokens in place of masks": f"{parity.greedy_identical} of {parity.texts}"}
    rows = {
        **(filled if parity.beam_size is None else searched),
        "near-ties among these": parity.near_ties,
        "largest difference of a log-probability": f"{parity.log_prob_difference:.2g}",
        "perplexity per token, PyTorch": f"{math.exp(parity.loss_torch):.4f}",
        "perplexity per token, this bundle": f"{math.exp(parity.loss_bundle):.4f}",
    }
    if parity.bits_per_byte is not None:
        rows["bits per byte, this bundle"] = f"{parity.bits_per_byte:.4f}"
    table = "".join(f"| {name} | {figure} |\n" for name, figure in rows.items())
    return (
        f"The export compared ONNX Runtime with PyTorch in float32 on {parity.texts:,} texts of {parity.tokens or 0:,} "
        f"tokens:\n\n| | |\n|---|---|\n{table}"
    )


def _vectors(vectors: VectorParity) -> str:
    rows = {
        "largest difference of the cosine of two texts": f"{vectors.cosine_difference:.2g}",
        "smallest cosine of both vectors of a text": f"{vectors.least_cosine:.6f}",
        "texts with the same nearest other text": f"{vectors.nearest_identical} of {vectors.texts}",
    }
    table = "".join(f"| {name} | {figure} |\n" for name, figure in rows.items())
    return f"Vectors of {vectors.texts:,} texts of {vectors.tokens:,} tokens:\n\n| | |\n|---|---|\n{table}"
