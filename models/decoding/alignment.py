"""Which words of a translation come from which words of its source, asked of the network itself.

A word of the source is hidden from the decoder, and what that costs each token of the translation tells how much of the
token comes from the word. It takes as many forced decodings as the source has words, of any encoder-decoder.
"""

import re

import numpy as np

from heed.models.arrays import BoolArray, FloatArray, IntArray
from heed.models.runtime.protocol import State
from heed.models.tokenizers.protocol import LineTokenizer

WORD = re.compile(r"\w+|[^\w\s]")
ROWS = 16  # hidden words at a time
FLOOR = 0.1  # nats; what costs less comes from no word in particular

Span = tuple[int, int]  # in characters


def word_spans(text: str) -> list[Span]:
    """Where the words and marks of a text are."""
    return [match.span() for match in WORD.finditer(text)]


def align(state: State, tokenizers: tuple[LineTokenizer, LineTokenizer], src: str, tgt: str) -> FloatArray:
    """The share that each source word has in each word of the translation, (source words, target words)."""
    (src_ids, src_words), (tgt_ids, tgt_words) = (
        _tokens_of_words(tokenizer, text) for tokenizer, text in zip(tokenizers, (src, tgt), strict=True)
    )
    source = np.append(src_ids, tokenizers[0].eos_id)
    target, read = tgt_ids, np.append(tokenizers[1].bos_id, tgt_ids[:-1])
    n_words = len(src_words)
    seen = np.concatenate([np.ones((1, len(src_ids)), dtype=bool), ~src_words])
    seen = np.pad(seen, ((0, 0), (0, 1)), constant_values=True)  # the end is always seen
    found = []
    for first in range(0, n_words + 1, ROWS):
        rows = seen[first : first + ROWS]
        state.encode(np.tile(source, (len(rows), 1)), np.ones_like(rows))
        before, after = (np.tile(each, (len(rows), 1)) for each in (read, target))
        found.append(state.score(before, after, rows))
    log_probs = np.concatenate(found)
    costs = np.maximum(log_probs[:1] - log_probs[1:], 0)  # of hiding each word, (source words, T)
    of_words = np.where(tgt_words[None], costs[:, None], 0).max(axis=2)
    shares: FloatArray = of_words / (of_words.sum(axis=0) + FLOOR)
    return shares


def _tokens_of_words(tokenizer: LineTokenizer, text: str) -> tuple[IntArray, BoolArray]:
    """The token ids of a text, (N,), and which of them are of each word, (words, N)."""
    ids, spans = tokenizer.encode_spans(text)
    starts, ends = np.array(spans, dtype=np.int64).reshape(-1, 2).T
    words = np.array(word_spans(text), dtype=np.int64).reshape(-1, 2)
    return np.array(ids, dtype=np.int64), (words[:, :1] < ends) & (starts < words[:, 1:])
