"""Text as tokens on disk: written once and atomically, and opened without reading them."""

import contextlib
import dataclasses
import itertools
import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from heed.models.errors import DataError
from heed.models.tokenizers.protocol import LineTokenizer, PlainTokenizer, Special
from heed.transformer.data.batching.order import BLOCK, PairRanges, read
from heed.transformer.data.batching.pairs import Pairs, PairWriter, StoredPairs
from heed.transformer.data.batching.prefetch import ahead
from heed.transformer.data.reservoir import fingerprint
from heed.transformer.data.text.documents import Part
from heed.transformer.data.text.parallel_text import Filter
from heed.transformer.data.text.sources import Pair, Source

FACTS = "facts.json"
SAMPLE = 300_000  # pairs in a sample
CHUNK = 4096  # pairs tokenized together
CHARACTERS = 1 << 19  # characters of documents tokenized together
SAMPLE_TEXTS = 100_000  # of them
BYTE = np.dtype(np.uint8)


@dataclasses.dataclass(frozen=True)
class Corpora:
    """Corpora as tokens on disk."""

    tokens: tuple[StoredPairs, ...]
    texts: tuple[StoredPairs, ...]  # texts as bytes; none if only tokens are needed
    facts: Mapping[str, int]  # numbers of pairs, and of pairs dropped by reason

    def __len__(self) -> int:
        """The number of pairs."""
        return sum(map(len, self.tokens))

    def sample(self, most: int = SAMPLE) -> Pairs:
        """A sample of the pairs, evenly spaced, in memory."""
        sizes = [len(corpus) for corpus in self.tokens]
        every = PairRanges.whole(sizes)
        if len(self) > most:
            parts = [np.arange(0, size, BLOCK * len(self) // most) for size in sizes]
            starts = np.concatenate(parts)
            numbers = np.repeat(np.arange(len(sizes)), [len(part) for part in parts])
            every = PairRanges(numbers, starts, np.minimum(starts + BLOCK, np.array(sizes)[numbers]))
        return read(self.tokens, every)

    def sample_texts(self, most: int = SAMPLE_TEXTS) -> Iterator[tuple[str, str]]:
        """The texts of so many of the pairs, where they are kept."""
        pairs = Corpora(self.texts, (), {}).sample(most)
        for i in range(len(pairs)):
            yield pairs.src[i].tobytes().decode("utf-8"), pairs.tgt[i].tobytes().decode("utf-8")


@dataclasses.dataclass(frozen=True, kw_only=True)
class CorpusSettings:
    """How to process the pairs of sources."""

    tokenizers: tuple[LineTokenizer, LineTokenizer]
    filter: Filter
    seed: int  # seed of the fingerprints of
    held: Collection[int]  # held-out sources
    duplicates: Path | None  # a byte for each pair, 1 if it is a duplicate
    texts: bool  # whether to store the texts as well
    threads: int


def write_corpora(directory: Path, sources: Sequence[Source], settings: CorpusSettings) -> Counter[str]:
    """Tokenize pairs into files of a directory, for `open_corpora`.

    Returns:
        The number of pairs, and how many were dropped for each reason.

    Raises:
        DataError: A file cannot be used.
        OSError: A file cannot be read or written.
    """
    counts: Counter[str] = Counter()
    dtype = token_type(settings.tokenizers)
    with contextlib.ExitStack() as stack:
        marks = iter(()) if settings.duplicates is None else _bytes(stack.enter_context(settings.duplicates.open("rb")))
        for number, source in enumerate(sources):
            with contextlib.ExitStack() as files:
                tokens = files.enter_context(PairWriter(directory / str(number), dtype))
                texts = files.enter_context(PairWriter(_texts(directory, number), BYTE)) if settings.texts else None
                for pairs in ahead(_chunks(source, settings, marks, counts)):
                    _write(pairs, settings, tokens, texts, counts)
    write_facts(directory, len(sources), dtype, counts, texts=settings.texts)
    return counts


def _chunks(
    source: Source, settings: CorpusSettings, marks: Iterator[int], counts: Counter[str]
) -> Iterator[list[Pair]]:
    """The training pairs of a source, in chunks."""
    pairs = source.pairs(counts)
    while chunk := list(itertools.islice(pairs, CHUNK)):
        n_pairs = len(chunk)
        if settings.duplicates:
            chunk = [pair for pair, again in zip(chunk, marks, strict=False) if not again]
            counts["duplicate"] += n_pairs - len(chunk)
        if settings.held:
            n_left = len(chunk)
            chunk = [pair for pair in chunk if fingerprint(pair[0], settings.seed) not in settings.held]
            counts["held_out"] += n_left - len(chunk)
        yield chunk


def _write(
    pairs: list[Pair], settings: CorpusSettings, tokens: PairWriter, texts: PairWriter | None, counts: Counter[str]
) -> None:
    sides = [src for src, _ in pairs], [tgt for _, tgt in pairs]
    ids = [tokenizer.encode(side, settings.threads) for tokenizer, side in zip(settings.tokenizers, sides, strict=True)]
    for tokenizer, side in zip(settings.tokenizers, ids, strict=True):
        counts.update(lacking(tokenizer, side))
    kept, src, tgt = settings.filter.select(ids[0], ids[1], counts)
    tokens.add(src, tgt)
    counts["pairs"] += len(kept)
    if texts:
        texts.add_texts(*([side[number] for number in kept] for side in sides))


def lacking(tokenizer: LineTokenizer, rows: Sequence[list[int]]) -> dict[str, int]:
    """How many pieces rows of tokens have, how many are unknown, and how many are bytes of rare characters."""
    ids = np.fromiter(itertools.chain.from_iterable(rows), dtype=np.int64)
    n_unknown = int((ids == tokenizer.unk_id).sum())
    return {"pieces": len(ids), "unknown": n_unknown, "bytes": int(tokenizer.is_lacking[ids].sum()) - n_unknown}


def write_text(
    directory: Path, parts: Iterator[Part], tokenizer: PlainTokenizer, threads: int, counts: Counter[str]
) -> None:
    """Tokenize documents into files of a directory, for `open_corpora`, as one corpus.

    A pair is a prompt and its text. The parts of a long document follow each other, and the last has the end token.

    Args:
        directory: Of the files.
        parts: The documents.
        tokenizer: Theirs.
        threads: Of the CPU.
        counts: To which the numbers of documents and tokens are added, and what reading `parts` counts.

    Raises:
        DataError: A file cannot be used.
        OSError: A file cannot be read or written.
    """
    dtype = token_type([tokenizer])
    with PairWriter(directory / "0", dtype) as writer:
        for some in ahead(_some(parts)):
            prompts = tokenizer.encode_all([part.prompt for part in some], threads)
            texts = tokenizer.encode_all([part.text for part in some], threads)
            for part, text in zip(some, texts, strict=True):
                text.extend([tokenizer.eos_id] * part.ends)
            writer.add(prompts, texts)
            counts["documents"] += sum(part.begins for part in some)
            counts["tokens"] += sum(map(len, prompts)) + sum(map(len, texts))
    write_facts(directory, 1, dtype, counts, texts=False)


def _some(parts: Iterator[Part]) -> Iterator[list[Part]]:
    """Parts, in chunks."""
    some, size = list[Part](), 0
    for part in parts:
        some.append(part)
        size += len(part.text)
        if size >= CHARACTERS:
            yield some
            some, size = [], 0
    if some:
        yield some


def token_type(tokenizers: Sequence[Special]) -> "np.dtype[Any]":
    """The smallest integer type for every token."""
    return np.dtype(np.uint16 if max(map(len, tokenizers)) <= 1 << 16 else np.int32)


def write_facts(
    directory: Path, n_corpora: int, dtype: "np.dtype[Any]", counts: Mapping[str, int], *, texts: bool
) -> None:
    """Write the facts that `open_corpora` needs, after the files themselves."""
    sizes = {file.name: file.stat().st_size for file in sorted(directory.iterdir())}
    facts = {"corpora": n_corpora, "texts": texts, "token": dtype.name, "counts": dict(counts), "files": sizes}
    (directory / FACTS).write_text(json.dumps(facts, indent=1) + "\n", "utf-8")


def open_corpora(directory: Path) -> Corpora:
    """Open tokenized corpora.

    Raises:
        DataError: It is damaged.
        OSError: A file is missing.
    """
    facts = json.loads((directory / FACTS).read_text("utf-8"))
    for name, size in facts["files"].items():
        if (directory / name).stat().st_size != size:
            raise DataError(f"{directory / name}: damaged; delete {directory}, and heed makes it again")
    numbers = range(facts["corpora"])
    return Corpora(
        tokens=tuple(StoredPairs(directory / str(number), np.dtype(facts["token"])) for number in numbers),
        texts=tuple(StoredPairs(_texts(directory, number), BYTE) for number in numbers if facts["texts"]),
        facts=facts["counts"],
    )


def _texts(directory: Path, number: int) -> Path:
    return directory / f"{number}.text"


def _bytes(file: BinaryIO) -> Iterator[int]:
    """The bytes of a file, in chunks."""
    return itertools.chain.from_iterable(iter(lambda: file.read(CHUNK), b""))
