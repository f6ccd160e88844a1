"""The vocabularies of a translation run: given, extended, or learnt from a sample of its pairs."""

import dataclasses
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from heed.models.tokenizers.subwords import Tokenizer
from heed.transformer.data.normalization import normalizer
from heed.transformer.data.preparation.corpus_scan import sample
from heed.transformer.data.text.sources import Pair, Source
from heed.transformer.data.vocabulary import (
    Coverage,
    count_characters,
    extended,
    normalized,
    train_tokenizer,
    with_pieces_of,
)
from heed.transformer.training.runs.settings import TranslationConfig


def make_tokenizers(
    sources: Sequence[Source],
    n_pairs: int,
    held: Collection[int],
    config: TranslationConfig,
    control: Sequence[str],
) -> tuple[Tokenizer, Tokenizer]:
    """The source and target tokenizers, given or learnt from the training text.

    Args:
        sources: The training text.
        n_pairs: Number of its pairs.
        held: Fingerprints of the sources that are held out.
        config: The training settings.
        control: Special pieces that a joint vocabulary has besides the usual ones.

    Raises:
        DataError: The text is too small for the requested vocabulary.
        ModelError: A given tokenizer cannot be used.
    """
    text = _Sample(sources, n_pairs, held, config.seed)
    if config.tokenizer:
        given = [Tokenizer.load(Path(path)) for path in config.tokenizer]
        return _extended((given[0], given[-1]), text, config.extend_vocabulary)
    src_how, tgt_how, names = config.src_normalization, config.tgt_normalization, text.names
    if not config.joint:
        src = _learn(_Lines(text, {0: src_how}), config.vocab_size, src_how, names[0])
        return src, _learn(_Lines(text, {1: tgt_how}), config.vocab_size, tgt_how, names[1])
    # The pieces are learnt from what each side's normalization leaves of it; the target's changes nothing in that.
    lines = _Lines(text, {0: src_how, 1: tgt_how})
    tgt = _learn(lines, config.vocab_size, tgt_how, " and ".join(dict.fromkeys(names)), control)
    return normalized(tgt, src_how), tgt


@dataclasses.dataclass(frozen=True)
class _Sample:
    """Pairs to learn a vocabulary from."""

    sources: Sequence[Source]
    n_pairs: int
    held: Collection[int]
    seed: int

    @property
    def names(self) -> tuple[str, str]:
        """What errors call the sides."""
        paths = self.sources[0].paths
        return paths[0], paths[-1]

    def __iter__(self) -> Iterator[Pair]:
        return sample(self.sources, self.n_pairs, self.held, self.seed)


@dataclasses.dataclass(frozen=True)
class _Lines:
    """The lines of one side or of both, which may be read several times."""

    text: _Sample
    sides: Mapping[int, str | None]  # and what normalizes them; None: nothing, for a tokenizer will do it

    def __iter__(self) -> Iterator[str]:
        sides = [(side, normalizer(how).normalize if how else str) for side, how in self.sides.items()]
        return (normalize(pair[side]) for pair in self.text for side, normalize in sides)


def _learn(lines: _Lines, vocab_size: int, normalization: str, name: str, control: Sequence[str] = ()) -> Tokenizer:
    """A vocabulary of lines."""
    coverage = Coverage.of(count_characters(lines, normalization), vocab_size)
    return train_tokenizer(
        lines, vocab_size=vocab_size, name=name, normalization=normalization, coverage=coverage, control=control
    )


def _extended(given: tuple[Tokenizer, Tokenizer], text: _Sample, n_pieces: int) -> tuple[Tokenizer, Tokenizer]:
    """Tokenizers with more pieces, the same ones where they had the same."""
    if not n_pieces:
        return given
    src, tgt = given
    if not src.has_pieces_of(tgt):
        src = extended(src, _Lines(text, {0: None}), n_pieces, name=text.names[0])
        return src, extended(tgt, _Lines(text, {1: None}), n_pieces, name=text.names[1])
    larger = extended(tgt, _Lines(text, {0: None, 1: None}), n_pieces, name=" and ".join(dict.fromkeys(text.names)))
    return with_pieces_of(src, larger), larger
