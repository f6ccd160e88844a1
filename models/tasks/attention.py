"""What a network attends to while it reads a text, and its translation: weights between tokens and between words."""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from heed.models.arrays import BoolArray, FloatArray
from heed.models.errors import DataError
from heed.models.records import record
from heed.models.text.words import Span

if TYPE_CHECKING:
    from heed.models.bundle.bundle import Bundle
    from heed.models.runtime.attention import AttentionGraphs

WORD = re.compile("\\w+(?:['\u2019-]\\w+)*|[^\\w\\s]")  # words as people see them, and marks
LONGEST = 512  # tokens that are shown; attention grows with their square
SIDES = {"encoder": ("source", "source"), "decoder": ("target", "target"), "cross": ("target", "source")}


@record(frozen=True)
class Side:
    """What a stack reads."""

    tokens: list[str]  # the text of each token
    words: list[str]  # words, punctuation marks and special tokens
    word_of: list[int]  # the word of each token

    @property
    def membership(self) -> BoolArray:
        """Which tokens belong to each word, (words, tokens)."""
        found: BoolArray = np.arange(len(self.words))[:, None] == np.array(self.word_of)
        return found


@record(frozen=True)
class AttentionMap:
    """The attention of one kind in all layers and heads."""

    queries: list[str]  # what attends
    keys: list[str]  # what it attends to
    weights: FloatArray  # (layers, heads, queries, keys); a query's weights sum to 1


@record(frozen=True)
class Attention:
    """The attention of a network to a text.

    The decoder reads its translation, or the text itself if there is no encoder. A row of its weights belongs to the
    token that it has read, and predicts the next one.
    """

    texts: Mapping[str, str]  # "source", "target"
    sides: Mapping[str, Side]
    weights: Mapping[str, FloatArray]  # of tokens, by kind: "encoder", "decoder", "cross"; (layers, heads, Q, K)

    def tokens(self, kind: str) -> AttentionMap:
        """Attention between tokens."""
        queries, keys = (self.sides[name] for name in SIDES[kind])
        return AttentionMap(queries.tokens, keys.tokens, self.weights[kind])

    def words(self, kind: str) -> AttentionMap:
        """Attention between words: to all tokens of a word together, from its tokens on average."""
        queries, keys = (self.sides[name] for name in SIDES[kind])
        of_query = queries.membership / queries.membership.sum(axis=1, keepdims=True)
        found = of_query.astype(np.float32) @ self.weights[kind] @ keys.membership.T.astype(np.float32)
        return AttentionMap(queries.words, keys.words, found)

    def rolled_out(self, kind: str) -> "Attention":
        """The same with what reaches each token by all layers up to each; see `rollout`."""
        return dataclasses.replace(self, weights={kind: rollout(self.weights[kind])[:, None]})


def rollout(weights: FloatArray) -> FloatArray:
    """How much each token of a stack's input reaches each token of each layer's output (arXiv 2005.00928).

    Half of what leaves a layer is its input, by the residual connection, and half comes by the mean of its heads.

    Args:
        weights: Self-attention, (layers, heads, T, T).

    Returns:
        (layers, T, T); rows sum to 1.
    """
    found, so_far = [], np.eye(weights.shape[-1], dtype=np.float32)
    for layer in weights.mean(axis=1):
        so_far = (layer @ so_far + so_far) / 2
        found.append(so_far)
    return np.array(found)


class AttentionReader:
    """Shows the attention of a model.

    Args:
        bundle: The model.
        graphs: Its graphs that show attention.
    """

    def __init__(self, bundle: "Bundle", graphs: "AttentionGraphs") -> None:
        self.kinds = list(graphs.kinds)
        self._bundle, self._graphs = bundle, graphs

    @classmethod
    def load(cls, path: Path, *, device: str = "cpu", threads: int | None = None) -> "AttentionReader":
        """Load a bundle.

        Args:
            path: Its directory.
            device: "cpu" or "cuda".
            threads: CPU threads; None: as many as the cores that this process may use.

        Raises:
            ModelError: The bundle is damaged or of a later format, or the device cannot be used.
        """
        from heed.models.bundle.bundle import Bundle
        from heed.models.runtime.attention import AttentionGraphs
        from heed.models.system.processor import available_cores

        with Bundle.loading(path) as bundle:
            spec, files, threads = bundle.manifest.network, bundle.manifest.files, threads or available_cores()
            graphs = AttentionGraphs(path, spec, files, device=device, threads=threads)
        return cls(bundle, graphs)

    @property
    def translates(self) -> bool:
        """Whether the model reads a source and a translation."""
        return "cross" in self.kinds

    def read(self, text: str, target: str | None = None) -> Attention:
        """The attention to a text.

        Args:
            text: Read as a whole, without splitting it into sentences.
            target: Its translation, if the model translates.

        Raises:
            DataError: A text has too many tokens.
        """
        if not self.translates:
            side, ids = self._plain(text)
            weights = self._graphs.read(None, None, np.array([ids]))
            return Attention({"target": text}, {"target": side}, _stacked(weights))
        assert target is not None, "a model that translates reads a translation"
        src, tgt = self._bundle.tokenizers()
        src_ids, src_spans = src.encode_spans(text)
        tgt_ids, tgt_spans = tgt.encode_spans(target)
        begun = [tgt.bos_id, *tgt.forced]
        first, end = [tgt.piece(each) or "<s>" for each in begun], [src.piece(src.eos_id) or "</s>"]
        sides = {
            "source": _side(text, [src.piece(each) for each in src_ids], src_spans, after=end),
            "target": _side(target, [tgt.piece(each) for each in tgt_ids], tgt_spans, before=first),
        }
        for name, side in sides.items():
            self._require_short(name, len(side.tokens))
        source = np.array([[*src_ids, src.eos_id]])
        weights = self._graphs.read(source, np.ones_like(source, dtype=bool), np.array([[*begun, *tgt_ids]]))
        return Attention({"source": text, "target": target}, sides, _stacked(weights))

    def _plain(self, text: str) -> tuple[Side, list[int]]:
        """A text as a language model reads it: what stands there, and its token ids."""
        tokenizer = self._bundle.text_tokenizer()
        ids = tokenizer.encode(text)
        before = ["<s>"] * bool(tokenizer.starts_texts or not ids)
        self._require_short("text", len(before) + len(ids))
        pieces, spans, data = list[str](), list[Span](), b""
        for each in ids:
            start, data = len(data.decode("utf-8", "ignore")), data + tokenizer.token_bytes([each])
            end = len(data.decode("utf-8", "ignore"))  # a token may end within a character
            spans.append((start, max(end, start + 1)))
            pieces.append(tokenizer.decode([each]) or f"<{each}>")
        return _side(text, pieces, spans, before=before), [tokenizer.bos_id] * len(before) + ids

    def _require_short(self, name: str, n_tokens: int) -> None:
        limits = [stack.n_positions for stack in self._graphs.spec.stacks.values() if stack.n_positions is not None]
        if n_tokens > (longest := min([LONGEST, *limits])):
            raise DataError(f"the {name} has {n_tokens:,} tokens, and at most {longest:,} can be shown; shorten it")


def _stacked(weights: Mapping[str, Sequence[FloatArray]]) -> dict[str, FloatArray]:
    """The weights of the only row of a batch, (layers, heads, Q, K) of each kind."""
    return {kind: np.stack([layer[0] for layer in layers]) for kind, layers in weights.items()}


def _side(
    text: str, pieces: Sequence[str], spans: Sequence[Span], before: Sequence[str] = (), after: Sequence[str] = ()
) -> Side:
    """What a stack reads: tokens of a text with their spans, between special tokens."""
    words, numbers = list(before), list(range(len(before)))
    last, begins, bounds = -1, 0, [match.span() for match in WORD.finditer(text)]
    for piece, (start, end) in zip(pieces, spans, strict=True):
        inside = [i for i, (first, stop) in enumerate(bounds) if first < end and start < stop]
        if inside and inside[0] == last:
            words[-1] = text[begins:end].strip()
        else:
            begins = start
            words.append(text[start:end].strip() or piece)
        last = inside[-1] if inside else -1
        numbers.append(len(words) - 1)
    numbers += range(len(words), len(words) + len(after))
    return Side([*before, *pieces, *after], [*words, *after], numbers)
