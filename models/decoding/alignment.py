"""Word alignment of a translation with its source, measured on the network itself.

Each source word is hidden from the decoder in turn. The loss of log-probability of each target token shows how much it
depends on the word. This takes one forced decoding per source word and works with any encoder-decoder.
"""

import numpy as np

from heed.models.arrays import BoolArray, FloatArray, IntArray
from heed.models.runtime.protocol import State
from heed.models.text.words import word_spans
from heed.models.tokenizers.protocol import LineTokenizer

ROWS = 16  # words hidden at a time, one per row
FLOOR = 0.1  # nats; smaller losses count as no dependence


def align(state: State, tokenizers: tuple[LineTokenizer, LineTokenizer], src: str, tgt: str) -> FloatArray:
    """The share of each source word in each word of the translation, (source words, target words)."""
    (src_ids, src_words), (tgt_ids, tgt_words) = (
        _tokens_of_words(tokenizer, text) for tokenizer, text in zip(tokenizers, (src, tgt), strict=True)
    )
    if not len(tgt_ids):
        return np.zeros((len(src_words), len(tgt_words)), dtype=np.float32)
    source = np.append(src_ids, tokenizers[0].eos_id)
    target, read = tgt_ids, np.append(tokenizers[1].bos_id, tgt_ids[:-1])
    n_words = len(src_words)
    seen = np.concatenate([np.ones((1, len(src_ids)), dtype=bool), ~src_words])
    seen = np.pad(seen, ((0, 0), (0, 1)), constant_values=True)  # the end token is never hidden
    found = []
    for first in range(0, n_words + 1, ROWS):
        rows = seen[first : first + ROWS]
        state.encode(np.tile(source, (len(rows), 1)), np.ones_like(rows))
        before, after = (np.tile(each, (len(rows), 1)) for each in (read, target))
        found.append(state.score(before, after, rows))
    log_probs = np.concatenate(found)
    costs = np.maximum(log_probs[:1] - log_probs[1:], 0)  # losses from hiding each word, (source words, T)
    of_words = np.where(tgt_words[None], costs[:, None], 0).max(axis=2)
    shares: FloatArray = of_words / (of_words.sum(axis=0) + FLOOR)
    return shares


def _tokens_of_words(tokenizer: LineTokenizer, text: str) -> tuple[IntArray, BoolArray]:
    """The token ids of a text, (N,), and which of them belong to each word, (words, N)."""
    ids, spans = tokenizer.encode_spans(text)
    starts, ends = np.array(spans, dtype=np.int64).reshape(-1, 2).T
    words = np.array(word_spans(text), dtype=np.int64).reshape(-1, 2)
    return np.array(ids, dtype=np.int64), (words[:, :1] < ends) & (starts < words[:, 1:])
