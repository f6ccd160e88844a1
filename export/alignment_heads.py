"""Choice of the cross-attention heads that align words, by what hiding a source token costs."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from heed.models.arrays import FloatArray, IntArray
from heed.models.decoding.alignment import hiding_costs, token_weights
from heed.models.decoding.beam_search import search
from heed.models.decoding.config import AlignmentHeads, DecodeConfig, SpecialIds
from heed.models.runtime.attention import AttentionGraphs
from heed.models.runtime.network import OnnxNetwork
from heed.models.runtime.protocol import Network
from heed.models.tasks.scorer import ScoringInput

TEXTS = 40  # pairs of the validation text
LONGEST = 40  # tokens of a side
CLEAR = 0.5  # nats; a token that loses less when any one source token is hidden depends on none of them
ENOUGH = 0.6  # agreement below which no heads are chosen, and words are hidden instead


@dataclasses.dataclass
class _Pair:
    weights: list[FloatArray]  # cross-attention of each layer, (1, H, T, S)
    n_begun: int  # tokens that the decoder reads before the target
    clear: IntArray  # target tokens that depend on one source token
    wanted: IntArray  # that source token, for each of them


def choose_heads(
    directory: Path, network: OnnxNetwork, files: Sequence[str], passages: Sequence[ScoringInput], special: SpecialIds
) -> AlignmentHeads | None:
    """The heads of a layer whose mean attention agrees best with hiding; None if no heads agree well.

    Args:
        directory: The bundle's directory.
        network: Its network, over the whole vocabulary.
        files: Names of the bundle's files.
        passages: Sources and translations of the validation text.
        special: The special token ids.
    """
    pairs = [(each.source, each.tokens[:-1]) for each in passages if each.source]  # without the end of the target
    short = [(src, tgt) for src, tgt in pairs if len(src) <= LONGEST >= len(tgt) > 0]
    if network.spec.encoder is None or network.spec.decoder is None or not short:
        return None
    graphs = AttentionGraphs(directory, network.spec, files, device="cpu", threads=network.threads)
    read = [_read(graphs, network, *each, special) for each in short[:TEXTS]]
    n_layers, n_heads = network.spec.decoder.n_layers, network.spec.decoder.attention.n_heads
    candidates = [
        AlignmentHeads(layer=layer, heads=(head,), ahead=ahead, agreement=0.0)
        for layer in range(n_layers)
        for head in range(n_heads)
        for ahead in (False, True)
    ]
    best = max((_judged(each, read) for each in candidates), key=lambda each: each.agreement)
    while more := _extended(best, n_heads, read):
        best = more
    return best if best.agreement >= ENOUGH else None


def translated(network: Network, passages: Sequence[ScoringInput], special: SpecialIds) -> list[ScoringInput]:
    """The network's own translations of short sources, where there are no others."""
    sources = [each.source for each in passages if each.source and len(each.source) <= LONGEST][:TEXTS]
    config = DecodeConfig(beam_size=1, max_length=min(LONGEST, network.context or LONGEST))
    found = search(network.state(), sources, config, special, context=network.context) if sources else []
    return [
        ScoringInput([], [*best.tokens, special.eos_id], source)
        for (best, *_), source in zip(found, sources, strict=True)
    ]


def _read(
    graphs: AttentionGraphs, network: OnnxNetwork, src: Sequence[int], tgt: Sequence[int], special: SpecialIds
) -> _Pair:
    source, begun = np.array(src), [special.bos_id, *special.forced]
    hidden = np.eye(len(source), dtype=bool)[:-1]  # the end token is never hidden
    costs = hiding_costs(network.state(), source, begun, np.array(tgt), hidden)  # (S - 1, T)
    clear = np.flatnonzero(costs.max(axis=0, initial=0) >= CLEAR)
    seen = np.ones((1, len(source)), dtype=bool)
    weights = graphs.read(source[None], seen, np.array([[*begun, *tgt]]))["cross"]
    return _Pair(weights, len(begun), clear, costs[:, clear].argmax(axis=0) if len(clear) else clear)


def _judged(heads: AlignmentHeads, pairs: Sequence[_Pair]) -> AlignmentHeads:
    """The same heads with their agreement."""
    same = [_found(heads, pair) == pair.wanted for pair in pairs if len(pair.clear)]
    return dataclasses.replace(heads, agreement=round(float(np.concatenate(same).mean()), 4) if same else 0.0)


def _found(heads: AlignmentHeads, pair: _Pair) -> IntArray:
    """The source token to which each clear target token attends most, its end token left out."""
    (weights,) = token_weights(pair.weights[heads.layer], heads, pair.n_begun)
    found: IntArray = weights[pair.clear, :-1].argmax(axis=1)
    return found


def _extended(heads: AlignmentHeads, n_heads: int, pairs: Sequence[_Pair]) -> AlignmentHeads | None:
    """The heads with the one more that helps most; None if none helps."""
    others = [head for head in range(n_heads) if head not in heads.heads]
    wider = (dataclasses.replace(heads, heads=(*heads.heads, head)) for head in others)
    best = max((_judged(each, pairs) for each in wider), key=lambda each: each.agreement, default=heads)
    return best if best.agreement > heads.agreement else None
