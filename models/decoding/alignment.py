"""Word alignment of a translation with its source, measured on the network itself.

There are two measures. One reads the cross-attention of some heads, which the export chose: one forced decoding for all
words of a batch. The other hides each source word from the decoder in turn; the loss of log-probability of each target
token shows how much it depends on the word. This takes one forced decoding per source word and works with any
encoder-decoder.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from heed.models.arrays import BoolArray, FloatArray, IntArray
from heed.models.decoding.batching import padded
from heed.models.decoding.config import AlignmentHeads
from heed.models.runtime.protocol import State
from heed.models.text.words import Span, word_spans
from heed.models.tokenizers.protocol import LineTokenizer

if TYPE_CHECKING:
    from heed.models.runtime.attention import AttentionGraphs

ROWS = 16  # words hidden at a time, one per row
FLOOR = 0.1  # nats; smaller losses count as no dependence
LEAST = 0.1  # share of a source word in a target word that is no link's, but may be one
Tokenizers = tuple[LineTokenizer, LineTokenizer]
Texts = tuple[str, str]  # source and translation
Words = tuple[Sequence[Span], Sequence[Span]]  # those of the source and of the translation


def align(state: State, tokenizers: Tokenizers, src: str, tgt: str, words: Words | None = None) -> FloatArray:
    """The share of each source word in each word of the translation by hiding, (source words, target words).

    Args:
        state: Of a network over the whole vocabulary.
        tokenizers: Of source and target.
        src: The source.
        tgt: Its translation.
        words: Their words; None: `word_spans`.
    """
    (src_ids, src_words), (tgt_ids, tgt_words) = _sides(tokenizers, (src, tgt), words)
    if not len(tgt_ids):
        return np.zeros((len(src_words), len(tgt_words)), dtype=np.float32)
    # The end token is never hidden.
    source, hidden = np.append(src_ids, tokenizers[0].eos_id), np.pad(src_words, ((0, 0), (0, 1)))
    costs = hiding_costs(state, source, _begun(tokenizers[1]), tgt_ids, hidden)  # (source words, T)
    of_words = np.where(tgt_words[None], costs[:, None], 0).max(axis=2)
    shares: FloatArray = of_words / (of_words.sum(axis=0) + FLOOR)
    return shares


def hiding_costs(
    state: State, source: IntArray, begun: Sequence[int], target: IntArray, hidden: BoolArray
) -> FloatArray:
    """The log-probability that each token loses when parts of its source are hidden from the decoder.

    Args:
        state: Of a network over the whole vocabulary.
        source: Token ids with the end token, (S,).
        begun: What the decoder reads before the target.
        target: Token ids, (T,).
        hidden: The tokens that are hidden in each of N turns, (N, S).

    Returns:
        Nats, at least 0, (N, T).
    """
    first = len(begun) - 1
    read, after = np.array([*begun, *target[:-1]]), np.array([*begun[1:], *target])
    seen, found = np.concatenate([np.ones((1, len(source)), dtype=bool), ~hidden]), list[FloatArray]()
    for start in range(0, len(seen), ROWS):
        rows = seen[start : start + ROWS]
        state.encode(np.tile(source, (len(rows), 1)), np.ones_like(rows))
        before, wanted = (np.tile(each, (len(rows), 1)) for each in (read, after))
        found.append(state.score(before, wanted, rows)[:, first:])
    log_probs = np.concatenate(found)
    costs: FloatArray = np.maximum(log_probs[:1] - log_probs[1:], 0)
    return costs


def attended(
    graphs: "AttentionGraphs",
    heads: AlignmentHeads,
    tokenizers: Tokenizers,
    pairs: Sequence[Texts],
    words: Sequence[Words] | None = None,
) -> list[FloatArray]:
    """The share of each source word in each word of translations by attention, (source words, target words) each.

    Args:
        graphs: Of cross-attention in the layer of the heads.
        heads: The heads to read.
        tokenizers: Of source and target.
        pairs: Sources and translations, of similar length.
        words: Their words; None: `word_spans`.
    """
    sides = [_sides(tokenizers, texts, words[i] if words else None) for i, texts in enumerate(pairs)]
    begun = _begun(tokenizers[1])
    src, src_mask = padded([[*ids.tolist(), tokenizers[0].eos_id] for (ids, _), _ in sides])
    tgt, _ = padded([[*begun, *ids.tolist()] for _, (ids, _) in sides])
    (layer,) = graphs.read(src, src_mask, tgt)["cross"]
    weights = token_weights(layer, heads, len(begun))
    found = []
    for row, ((src_ids, src_words), (tgt_ids, tgt_words)) in zip(weights, sides, strict=True):
        of_tokens = row[: len(tgt_ids), : len(src_ids)]
        n_tokens = np.maximum(tgt_words.sum(axis=1), 1)
        found.append(src_words.astype(np.float32) @ of_tokens.T @ tgt_words.T / n_tokens)
    return found


def token_weights(layer: FloatArray, heads: AlignmentHeads, n_begun: int) -> FloatArray:
    """What target tokens attend to by the chosen heads of a layer, (B, H, T, S): (B, target tokens, S).

    Args:
        layer: The weights of all heads, for what the decoder reads.
        heads: The heads to read.
        n_begun: Number of tokens that the decoder reads before the target.
    """
    weights: FloatArray = layer[:, list(heads.heads)].mean(axis=1)
    return weights[:, n_begun - 1 : -1] if heads.ahead else weights[:, n_begun:]


def links(shares: FloatArray) -> list[tuple[int, int]]:
    """Pairs of a source word and a target word that translate each other, in order.

    A target word is linked with the source word of the largest share. A source word that gets no link so is linked with
    the target word in which it has the largest share, unless that is next to nothing.
    """
    found = {(int(shares[:, j].argmax()), j) for j in range(shares.shape[1]) if shares[:, j].any()}
    alone = set(range(len(shares))) - {i for i, _ in found} if shares.shape[1] else set()
    best = {i: int(shares[i].argmax()) for i in alone}
    return sorted(found | {(i, j) for i, j in best.items() if shares[i, j] > LEAST})


def _begun(tokenizer: LineTokenizer) -> list[int]:
    """What the decoder reads before the tokens of a text."""
    return [tokenizer.bos_id, *tokenizer.forced]


def _sides(
    tokenizers: Tokenizers, texts: Texts, words: Words | None
) -> tuple[tuple[IntArray, BoolArray], tuple[IntArray, BoolArray]]:
    spans = words or (word_spans(texts[0]), word_spans(texts[1]))
    src, tgt = (_tokens_of_words(*each) for each in zip(tokenizers, texts, spans, strict=True))
    return src, tgt


def _tokens_of_words(tokenizer: LineTokenizer, text: str, words: Sequence[Span]) -> tuple[IntArray, BoolArray]:
    """The token ids of a text, (N,), and which of them belong to each word, (words, N)."""
    ids, spans = tokenizer.encode_spans(text)
    starts, ends = np.array(spans, dtype=np.int64).reshape(-1, 2).T
    bounds = np.array(words, dtype=np.int64).reshape(-1, 2)
    return np.array(ids, dtype=np.int64), (bounds[:, :1] < ends) & (starts < bounds[:, 1:])
