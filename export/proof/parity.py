"""The proof of an export: ONNX Runtime against PyTorch, on real sentences."""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from heed.models.arrays import FloatArray, IntArray
from heed.models.bundle.manifest import Parity
from heed.models.decoding.batching import plan_batches
from heed.models.decoding.config import DecodeConfig
from heed.models.errors import ModelError
from heed.models.runtime.encoder_decoder import OnnxNetwork
from heed.models.tasks.translator import Translator
from heed.models.tokenizers.subwords import Tokenizer
from heed.transformer.data.batching.pairs import Pairs
from heed.transformer.data.parallel_text import ParallelText, tokenize
from heed.transformer.decoding import TorchNetwork
from heed.transformer.masks import padding_mask
from heed.transformer.model import Transformer

SENTENCES = 200
BATCH_SIZE = 16
BEAM_SIZE = 4
# Both sides compute the same products in float32 and only add in another order; over some layers that leaves
# differences of about 1e-5 in a log-probability.
LOG_PROB_LIMIT = 1e-3
# int8 and float16 round every product. The loss of a reference's token may grow by this many nats (perplexity by 2 %).
LOSS_LIMIT = 0.02


def compare(
    network: Transformer,
    exported: OnnxNetwork,
    tokenizers: tuple[Tokenizer, Tokenizer],
    text: ParallelText,
) -> Parity:
    """Compare an exported network with the one it came from on the first sentences of a text."""
    chosen = ParallelText(text.src[:SENTENCES], text.tgt[:SENTENCES])
    pairs = tokenize(chosen, *tokenizers, max_length=512)
    difference, loss_torch, loss_bundle = _forced(network, exported, tokenizers, pairs)
    sides = Translator(TorchNetwork(network), *tokenizers), Translator(exported, *tokenizers)
    return Parity(
        sentences=len(chosen),
        greedy_identical=_identical(sides, chosen.src, DecodeConfig(beam_size=1)),
        beam_identical=_identical(sides, chosen.src, DecodeConfig(beam_size=BEAM_SIZE)),
        beam_size=BEAM_SIZE,
        log_prob_difference=difference,
        loss_torch=loss_torch,
        loss_bundle=loss_bundle,
    )


def require_shortlist(
    whole: OnnxNetwork, narrowed: OnnxNetwork, tokenizers: tuple[Tokenizer, Tokenizer], text: ParallelText
) -> None:
    """Refuse a shortlist's graphs unless they predict what the whole vocabulary's do, among fewer tokens.

    Raises:
        ModelError: With the figure that is off.
    """
    chosen = ParallelText(text.src[:SENTENCES], text.tgt[:SENTENCES])
    pairs, states, difference = tokenize(chosen, *tokenizers, max_length=512), (whole.state(), narrowed.state()), 0.0
    for src, tgt, _ in _forced_batches(pairs, tokenizers):
        for state in states:
            state.read(src, src != tokenizers[0].pad_id)
        every, found = (state.log_probs(tgt) for state in states)
        possible = np.isfinite(found)
        among = np.where(possible, every[:, :, states[1].vocabulary], -np.inf)
        total = np.broadcast_to(np.logaddexp.reduce(among, axis=2, keepdims=True), among.shape)
        largest = np.abs(found[possible] - (among[possible] - total[possible])).max()
        difference = float(np.maximum(difference, largest))  # keeps a NaN
    if not difference <= LOG_PROB_LIMIT:
        raise ModelError(
            f"the export is refused: over the shortlist a log-probability differs by {difference:.2g}, more than "
            f"{LOG_PROB_LIMIT:g}; this is a bug in heed: report it"
        )


def require(parity: Parity, precision: str) -> None:
    """Refuse an export that is not the network it came from.

    Raises:
        ModelError: With the figure that is off.
    """
    if precision == "float32":
        if parity.greedy_identical < parity.sentences or parity.beam_identical < parity.sentences:
            raise ModelError(
                f"the export is refused: of {parity.sentences} sentences, {parity.greedy_identical} greedy and "
                f"{parity.beam_identical} beam translations equal PyTorch's; this is a bug in heed: report it"
            )
        if not parity.log_prob_difference <= LOG_PROB_LIMIT:
            raise ModelError(
                f"the export is refused: a log-probability differs from PyTorch's by {parity.log_prob_difference:.2g}, "
                f"more than {LOG_PROB_LIMIT:g}; this is a bug in heed: report it"
            )
    elif not parity.loss_bundle - parity.loss_torch <= LOSS_LIMIT:
        raise ModelError(
            f"the export is refused: in {precision} the loss is {parity.loss_bundle:.4f} and in float32 "
            f"{parity.loss_torch:.4f}, more than {LOSS_LIMIT:g} apart; export with --precision float32"
        )


@dataclasses.dataclass
class _Totals:
    difference: float = 0.0
    nll_torch: float = 0.0
    nll_bundle: float = 0.0
    n_tokens: int = 0


def _forced_batches(
    pairs: Pairs, tokenizers: tuple[Tokenizer, Tokenizer]
) -> Iterator[tuple[IntArray, IntArray, IntArray]]:
    """Sources, what the decoder reads and what it must predict: padded token ids, (B, S) and twice (B, T)."""
    src_tokenizer, tgt_tokenizer = tokenizers
    for batch in plan_batches(pairs.src.lengths.tolist(), BATCH_SIZE):
        indices = np.array(batch)
        yield (
            pairs.src.padded(indices, src_tokenizer.pad_id, last=src_tokenizer.eos_id),
            pairs.tgt.padded(indices, tgt_tokenizer.pad_id, first=tgt_tokenizer.bos_id),
            pairs.tgt.padded(indices, tgt_tokenizer.pad_id, last=tgt_tokenizer.eos_id),
        )


def _forced(
    network: Transformer,
    exported: OnnxNetwork,
    tokenizers: tuple[Tokenizer, Tokenizer],
    pairs: Pairs,
) -> tuple[float, float, float]:
    """The largest difference of a log-probability, and both losses a token, over teacher-forced references."""
    (src_tokenizer, tgt_tokenizer), totals, state = tokenizers, _Totals(), exported.state()
    for src, tgt, targets in _forced_batches(pairs, tokenizers):
        kept = targets != tgt_tokenizer.pad_id
        state.read(src, src != src_tokenizer.pad_id)
        ours = state.log_probs(tgt)
        theirs = _torch_log_probs(network, src, tgt, src_tokenizer.pad_id)
        totals.difference = float(np.maximum(totals.difference, np.abs(ours - theirs)[kept].max()))  # keeps a NaN
        totals.nll_bundle -= float(np.take_along_axis(ours, targets[:, :, None], axis=2)[kept].sum())
        totals.nll_torch -= float(np.take_along_axis(theirs, targets[:, :, None], axis=2)[kept].sum())
        totals.n_tokens += int(kept.sum())
    n_tokens = max(totals.n_tokens, 1)
    return totals.difference, totals.nll_torch / n_tokens, totals.nll_bundle / n_tokens


@torch.inference_mode()
def _torch_log_probs(network: Transformer, src: IntArray, tgt: IntArray, pad_id: int) -> FloatArray:
    ids = torch.from_numpy(src)
    logits: torch.Tensor = network(ids, padding_mask(ids, pad_id), torch.from_numpy(tgt))
    return logits.log_softmax(-1).numpy()


def _identical(sides: Sequence[Translator], lines: list[str], config: DecodeConfig) -> int:
    """How many lines both sides translate into the same tokens."""
    ours, theirs = (side.translate(lines, config) for side in sides)
    return sum(a.tokens == b.tokens for a, b in zip(ours, theirs, strict=True))
