"""Learning a SentencePiece vocabulary (section 5.1: byte-pair encoding, shared by source and target)."""

import dataclasses
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import sentencepiece
from sentencepiece import sentencepiece_model_pb2

from heed.models.errors import DataError
from heed.models.system.threads import require_threads
from heed.models.tokenizers.lossless import SPACE
from heed.models.tokenizers.subwords import Tokenizer
from heed.transformer.data.normalization import normalizer

# Classes that protobuf makes when it is imported, which type checkers do not see.
ModelProto: Any = sentencepiece_model_pb2.__dict__["ModelProto"]
NormalizerSpec: Any = sentencepiece_model_pb2.__dict__["NormalizerSpec"]
# Options of a lossless vocabulary: no normalization, byte fallback for unknown characters, newlines as pieces.
VERBATIM: dict[str, Any] = {
    "normalization_rule_name": "identity",
    "remove_extra_whitespaces": False,
    "add_dummy_prefix": False,
    "byte_fallback": True,
    "allow_whitespace_only_pieces": True,  # for the indentation of programs
    "user_defined_symbols": ["\n"],
    "required_chars": SPACE,  # even without any in the text; its bytes would mean the character itself
}
LONGEST_BYTES = 1 << 16  # of a line; longer ones are cut, for SentencePiece would leave them out
THREADS = 16  # that SentencePiece starts, and without which it ends the program
LONGEST = LONGEST_BYTES // 4  # characters have at most 4 bytes
N_SPECIAL, N_BYTES = 4, 256  # pieces
LARGE = 2048  # pieces of a vocabulary that has some left for all bytes
COVERED = 0.9999  # of a text's characters, those that get pieces; the others are names in other scripts and mistakes
MARGIN = 100  # pieces that are special, or known already


@dataclasses.dataclass(frozen=True)
class Coverage:
    """Which characters of a text get no pieces of their own, but are written in pieces of their bytes."""

    rare: frozenset[str] = frozenset()
    byte_fallback: bool = False  # whether there are pieces of bytes

    @classmethod
    def of(cls, counts: Counter[str], vocab_size: int) -> "Coverage":
        """What suits a vocabulary of so many pieces.

        Args:
            counts: How often each character is in the text, as it is normalized.
            vocab_size: Pieces, special ones included.
        """
        room = vocab_size - N_SPECIAL
        if vocab_size < LARGE and len(counts) < room:
            return cls()
        most = (room - N_BYTES) // 2  # the other half is for pieces of several characters
        if most < 1:
            return cls()  # which SentencePiece refuses, and says how many pieces are needed
        enough, covered = COVERED * counts.total(), 0
        rare = set()
        for number, (character, count) in enumerate(counts.most_common()):
            if number >= most or covered >= enough:
                rare.add(character)
            covered += count
        return cls(frozenset(rare), byte_fallback=True)


def count_characters(lines: Iterable[str], normalization: str) -> Counter[str]:
    """How often each character is in a text, as it is normalized."""
    counts: Counter[str] = Counter()
    normalize = normalizer(normalization).normalize
    for line in lines:
        counts.update(normalize(line))
    del counts[" "]
    return counts


def train_tokenizer(
    lines: Iterable[str],
    *,
    vocab_size: int,
    name: str,
    verbatim: bool = False,
    normalization: str = "nfc",
    coverage: Coverage = Coverage(),
    control: Sequence[str] = (),
) -> Tokenizer:
    """Learn a byte-pair vocabulary.

    Args:
        lines: The text.
        vocab_size: Pieces, special ones included.
        name: What the text is called in errors.
        verbatim: Give every text back as it was, white space too.
        normalization: One of `NORMALIZATIONS`, which the vocabulary does to every text; not with `verbatim`.
        coverage: Which characters get pieces; with `verbatim`, nearly all do.
        control: Further special pieces, which are never part of a text.

    Raises:
        DataError: The text is too small for the vocabulary.
    """
    how: dict[str, Any] = VERBATIM | {"character_coverage": COVERED}
    if not verbatim:
        spaces = dict.fromkeys(map(ord, coverage.rare), " ")  # SentencePiece's own coverage is 98% at least
        lines = (normalizer(normalization).normalize(line).translate(spaces) for line in lines)
        how = {"normalization_rule_name": "identity", "character_coverage": 1.0}
        how |= {"byte_fallback": coverage.byte_fallback}
    try:
        model = _train(lines, vocab_size, how | {"control_symbols": list(control)})
    except RuntimeError as error:
        raise DataError(_explain(str(error), vocab_size, name, bytes_too=coverage.byte_fallback)) from None
    tokenizer = Tokenizer(model, f"the tokenizer of {name}")
    return tokenizer if verbatim else normalized(tokenizer, normalization)


def normalized(tokenizer: Tokenizer, normalization: str) -> Tokenizer:
    """The same pieces for text that is normalized so."""
    model = ModelProto.FromString(tokenizer.model)
    spec = NormalizerSpec.FromString(normalizer(normalization).serialized_normalizer_spec())
    model.normalizer_spec.name = normalization
    model.normalizer_spec.precompiled_charsmap = spec.precompiled_charsmap
    return Tokenizer(model.SerializeToString(deterministic=True), tokenizer.name)


def with_pieces_of(tokenizer: Tokenizer, larger: Tokenizer) -> Tokenizer:
    """A tokenizer with another one's pieces, which normalizes as before."""
    model = ModelProto.FromString(larger.model)
    model.normalizer_spec.CopyFrom(ModelProto.FromString(tokenizer.model).normalizer_spec)
    return Tokenizer(model.SerializeToString(deterministic=True), tokenizer.name)


def extended(tokenizer: Tokenizer, lines: Iterable[str], n_pieces: int, *, name: str) -> Tokenizer:
    """A tokenizer with more pieces behind its own, for text that it knows too little of.

    First come the characters that it lacks, the most frequent ones first, then pieces of several. Text is cut as
    before where its own pieces are enough, for theirs are the earlier merges.

    Args:
        tokenizer: To be extended; it stays as it is.
        lines: The text.
        n_pieces: How many to add, at most.
        name: What the text is called in errors.

    Raises:
        DataError: The tokenizer is no byte-pair encoding, or the text has nothing to add.
    """
    model = ModelProto.FromString(tokenizer.model)
    if model.trainer_spec.model_type != model.trainer_spec.BPE:
        raise DataError(f"{tokenizer.name}: no byte-pair encoding, and --extend-vocabulary adds pieces to one alone")
    verbatim = not model.normalizer_spec.add_dummy_prefix  # as of a language model
    how: dict[str, Any] = {"normalization_rule_name": "identity", "character_coverage": 1.0}
    how = {**(VERBATIM if verbatim else {}), **how, "byte_fallback": False, "hard_vocab_limit": False}
    normalize = sentencepiece.SentencePieceNormalizer(
        model_proto=model, add_dummy_prefix=False, escape_whitespaces=False, remove_extra_whitespaces=False
    ).normalize
    characters = {character for line in lines for character in normalize(line)}
    try:
        learnt = ModelProto.FromString(_train(map(normalize, lines), n_pieces + len(characters) + MARGIN, how))
    except RuntimeError as error:
        raise DataError(f"{name}: no pieces could be learnt ({str(error).strip()}); give more text") from None
    known = {piece.piece for piece in model.pieces}
    new = [piece.piece for piece in learnt.pieces if piece.type == piece.NORMAL and piece.piece not in known]
    new = sorted(new, key=lambda piece: len(piece) > 1)[:n_pieces]  # a stable order: each in that of the learning
    if not new:
        raise DataError(f"{name}: {tokenizer.name} has pieces for all of it; leave out --extend-vocabulary")
    lowest = min(piece.score for piece in model.pieces)
    for number, piece in enumerate(new, start=1):
        model.pieces.add(piece=piece, score=lowest - number)
    model.trainer_spec.vocab_size = len(model.pieces)
    return Tokenizer(model.SerializeToString(deterministic=True), tokenizer.name)


def _train(lines: Iterable[str], vocab_size: int, how: Mapping[str, Any]) -> bytes:
    """A serialized SentencePiece model.

    Raises:
        RuntimeError: What SentencePiece says of it.
        HeedError: The system starts too few threads for it.
    """
    require_threads(THREADS)
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=_cut(lines),
        model_writer=model,
        model_type="bpe",
        vocab_size=vocab_size,
        max_sentence_length=LONGEST_BYTES,
        pad_id=0,
        unk_id=1,
        bos_id=2,
        eos_id=3,
        minloglevel=2,
        split_digits=True,  # a number is copied digit by digit, and none is rare
        **how,
    )
    return model.getvalue()


def _cut(lines: Iterable[str]) -> Iterator[str]:
    return (line[start : start + LONGEST] for line in lines for start in range(0, len(line), LONGEST))


def _explain(error: str, vocab_size: int, name: str, *, bytes_too: bool = False) -> str:
    """SentencePiece's error as a message that names the option."""
    if found := re.search(r"value <= (\d+)", error):
        most = int(found[1])
        most -= N_BYTES if bytes_too and most < LARGE else 0  # a vocabulary of that size has no pieces of bytes
        return f"{name}: the text supports a vocabulary of at most {most}; give --vocab-size {most} or less"
    if limit := re.search(r"smaller than required_chars\. \d+ vs (\d+)", error):
        return (
            f"{name}: a vocabulary of {vocab_size} is smaller than the {limit[1]} pieces that all characters need; "
            f"give --vocab-size {limit[1]} or more"
        )
    if "sentences_.empty()" in error or "all_chars_count" in error:
        return f"{name}: no text to learn a vocabulary from; give lines with more than spaces"
    return f"{name}: cannot learn a vocabulary of {vocab_size} pieces ({error.strip()}); try another --vocab-size"
