"""Plain text: reading it in parts that fit into memory, and holding some out."""

import dataclasses
import itertools
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from heed.models.errors import DataError
from heed.models.tokenizers.protocol import PlainTokenizer
from heed.transformer.data.batching.pairs import Pairs
from heed.transformer.data.reservoir import BottomKSample, fingerprint, pair_fingerprint
from heed.transformer.data.text.jsonl import texts
from heed.transformer.data.text.lines import OnBad, lines, plain_suffix, refuse

PART = 1 << 16  # characters; a longer text is split after the line that reaches them
HELD_OUT = 1000  # held-out documents if no validation text is given, and
HELD_OUT_SHARE = 0.05  # at most this share of them; with few documents, this share at the end of each, and
HELD_OUT_END = 1_000_000  # at most this many characters


@dataclasses.dataclass(frozen=True)
class Document:
    """A text that is a unit from its beginning to its end."""

    text: str
    prompt: str = ""  # given text before it, which is not predicted


@dataclasses.dataclass(frozen=True)
class Part:
    """A part of a document, possibly all of it, that fits into memory."""

    text: str
    prompt: str = ""
    begins: bool = True  # whether it is the first part
    ends: bool = True  # end of each piece

    @property
    def fingerprint(self) -> int:
        """A hash of a document's first part, equal for equal documents."""
        return pair_fingerprint(self.prompt, self.text)


@dataclasses.dataclass(frozen=True)
class TextFiles:
    """Files of text, and of prompts with completions, read as a stream."""

    texts: Sequence[str]  # each line of a `.jsonl` is a document; any other file is one document
    pairs: Sequence[str]  # `.jsonl`
    field: str  # field of a line with the text
    skip_bad: bool = False  # whether bad lines of a `.jsonl` are passed over

    def __iter__(self) -> Iterator[Part]:
        """All non-empty documents, in parts; see `parts`."""
        return self.parts(Counter())

    def parts(self, counts: Counter[str]) -> Iterator[Part]:
        """All non-empty documents, in parts; lines that are passed over are counted as "bad".

        Raises:
            DataError: A line is not UTF-8 or lacks the field, and may not be passed over.
            OSError: A file cannot be read.
        """
        on_bad: OnBad = (lambda _: counts.update(["bad"])) if self.skip_bad else refuse
        for path in self.texts:
            if plain_suffix(path) == ".jsonl":
                for (text,) in texts(path, [self.field], on_bad):
                    yield from _cut(text.split("\n"))
            else:
                yield from _cut(itertools.chain(lines(Path(path)), [""]))
        for path in self.pairs:
            for prompt, completion in texts(path, ["prompt", "completion"], on_bad):
                if completion:
                    yield Part(completion, prompt)

    def read(self) -> list[Document]:
        """All documents, in memory.

        Raises:
            DataError: See `__iter__`; or there is no text.
        """
        found: list[Document] = []
        for part in self:
            before = "" if part.begins else found.pop().text
            found.append(Document(before + part.text, part.prompt))
        self.require_some(len(found))
        return found

    def require_some(self, n_documents: int) -> None:
        """Refuse files without any text.

        Raises:
            DataError: No file contains text.
        """
        if not n_documents:
            raise DataError(f"{', '.join([*self.texts, *self.pairs])}: no text; give files that contain text")


def _cut(pieces: Iterable[str]) -> Iterator[Part]:
    """Join the lines of a text into parts; an empty text has none."""
    ready, part = "", list[str]()  # a part that may be the last, and the next one
    size, begins = 0, True
    for number, piece in enumerate(pieces):
        if number:
            part.append("\n")
        if size >= PART:
            if ready:
                yield Part(ready, begins=begins, ends=False)
                begins = False
            ready, part, size = "".join(part), [], 0
        part.append(piece)
        size += len(piece) + 1
    last = "".join(part)
    if ready and last:
        yield Part(ready, begins=begins, ends=False)
        begins = False
    if text := last or ready:
        yield Part(text, begins=begins)


@dataclasses.dataclass(frozen=True)
class TextScan:
    """The result of a scan of all documents."""

    n_documents: int
    n_lines: int
    n_characters: int
    lengths: tuple[int, ...]  # lengths of a few documents, in characters; empty if they are many or have prompts
    drawn: tuple[Document, ...]  # held-out documents of many; only the first part of a long one
    leaves_some: bool  # whether other documents remain


def survey_text(files: TextFiles, seed: int) -> TextScan:
    """Scan all documents once; of many, choose those to hold out.

    Raises:
        DataError: A file cannot be used, or there is no text.
        OSError: A file cannot be read.
    """
    sample, lengths = BottomKSample[Document](HELD_OUT + 1), list[int]()
    n_documents = n_lines = n_characters = 0
    few = True
    for part in files:
        if part.begins:
            n_documents += 1
            few = few and not part.prompt and n_documents * HELD_OUT_SHARE < 1
            sample.add(fingerprint(str(part.fingerprint), seed), Document(part.text, part.prompt))
            if few:
                lengths.append(0)
        if few:
            lengths[-1] += len(part.text)
        n_lines += part.text.count("\n") + part.ends
        n_characters += len(part.text)
    files.require_some(n_documents)
    most = max(1, min(HELD_OUT, int(n_documents * HELD_OUT_SHARE)))
    drawn = () if few else tuple(sample.drawn(most).values())
    return TextScan(n_documents, n_lines, n_characters, tuple(lengths) if few else (), drawn, len(sample) > most)


@dataclasses.dataclass(frozen=True)
class HeldOut:
    """The held-out text: documents, or the ends of a few."""

    documents: frozenset[int] = frozenset()  # fingerprints of the documents
    ends: tuple[int, ...] = ()  # start of the held-out end of each of a few documents, in characters

    @classmethod
    def of(cls, seen: TextScan, validation: Sequence[Document]) -> "HeldOut":
        """The held-out text of a run with this `validation`."""
        if seen.lengths:
            begins = zip(seen.lengths, validation, strict=True)
            return cls(ends=tuple(length - len(document.text) for length, document in begins))
        return cls(frozenset(Part(document.text, document.prompt).fingerprint for document in validation))

    def rest(self, parts: Iterable[Part]) -> Iterator[Part]:
        """The training part of documents."""
        number, position, kept = -1, 0, True
        for part in parts:
            if part.begins:
                number, position = number + 1, 0
                kept = not self.documents or part.fingerprint not in self.documents
            if not self.ends:
                if kept:
                    yield part
            elif room := max(self.ends[number] - position, 0):
                ends = part.ends or room <= len(part.text)
                yield dataclasses.replace(part, text=part.text[:room], ends=ends)
            position += len(part.text)


def hold_out(files: TextFiles, seen: TextScan) -> list[Document]:
    """The held-out documents: those chosen, or the end of each of a few.

    Raises:
        DataError: There is too little text.
    """
    if seen.lengths:
        ends = [max(1, min(HELD_OUT_END, int(length * HELD_OUT_SHARE))) for length in seen.lengths]
        if sum(ends) < seen.n_characters:
            return _ends(files, [length - end for length, end in zip(seen.lengths, ends, strict=True)])
    elif seen.leaves_some:
        return list(seen.drawn)
    raise DataError("the text is too short to hold some out; give --valid-text or --valid-pairs")


def _ends(files: TextFiles, begins: Sequence[int]) -> list[Document]:
    """The text of each document from a given character."""
    found, position = list[str](), 0
    for part in files:
        if part.begins:
            found.append("")
            position = 0
        found[-1] += part.text[max(begins[len(found) - 1] - position, 0) :]
        position += len(part.text)
    return [Document(text) for text in found]


def tokens_of(documents: Sequence[Document], tokenizer: PlainTokenizer) -> Pairs:
    """Documents as token ids: each one's prompt, and its text with the end token."""
    prompts = tokenizer.encode_all([document.prompt for document in documents])
    texts = tokenizer.encode_all([document.text for document in documents])
    return Pairs.of(prompts, [[*text, tokenizer.eos_id] for text in texts])


def write_documents(path: Path, documents: Sequence[Document]) -> None:
    """Write documents for `load_documents`."""
    every = [json.dumps(dataclasses.asdict(document), ensure_ascii=False) + "\n" for document in documents]
    path.write_bytes("".join(every).encode("utf-8"))


def load_documents(path: Path) -> list[Document]:
    """Read documents that `write_documents` wrote.

    Raises:
        DataError: The file is damaged.
        OSError: It cannot be read.
    """
    return [Document(text, prompt) for text, prompt in texts(str(path), ["text", "prompt"])]
