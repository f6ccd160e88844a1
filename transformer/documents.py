"""Plain text: reading it, and turning it into one long list of token ids."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from heed.models.errors import DataError
from heed.models.text_tokenizer import TextTokenizer
from heed.transformer.lines import plain_suffix, read_lines
from heed.transformer.pairs import IntArray
from heed.transformer.records import records, text_of


@dataclasses.dataclass(frozen=True)
class Document:
    """A text that is about one thing from its beginning to its end."""

    text: str
    prompt: str = ""  # what stands before it and is given, not predicted


def read_documents(paths: Sequence[str], field: str) -> list[Document]:
    """Read text files: a `.jsonl` holds one text a line, in a field; any other file is one text. `.gz` too.

    Raises:
        DataError: A line is no UTF-8 or has no such field, or there is no text.
    """
    documents: list[Document] = []
    for path in paths:
        if plain_suffix(path) == ".jsonl":
            documents += [Document(text_of(record, field, where)) for where, record in records(path)]
        else:
            documents.append(Document("".join(line + "\n" for line in read_lines(Path(path)))))
    return _required(documents, paths)


def read_completions(paths: Sequence[str]) -> list[Document]:
    """Read `.jsonl` files of prompts and completions.

    Raises:
        DataError: A line is no UTF-8 or has no such fields, or there is none.
    """
    documents = [
        Document(text_of(record, "completion", where), text_of(record, "prompt", where))
        for path in paths
        for where, record in records(path)
    ]
    return _required(documents, paths)


def _required(documents: list[Document], paths: Sequence[str]) -> list[Document]:
    found = [document for document in documents if document.text]
    if not found:
        raise DataError(f"{', '.join(paths)}: no text in there; give files with some")
    return found


class TokenStream:
    """Documents as token ids, one after another, each with the end token behind it."""

    def __init__(self, documents: Sequence[Document], tokenizer: TextTokenizer) -> None:
        ids: list[npt.NDArray[np.int32]] = []
        given: list[int] = []  # tokens of each document that are not predicted
        for document in documents:
            prompt, text = tokenizer.encode(document.prompt), tokenizer.encode(document.text)
            ids.append(np.array([*prompt, *text, tokenizer.eos_id], dtype=np.int32))
            given.append(len(prompt))
        self.ids = np.concatenate(ids)
        self.lengths: IntArray = np.array([len(each) for each in ids], dtype=np.int64)
        self.n_given: IntArray = np.array(given, dtype=np.int64)
        self.n_bytes = sum(len(document.text.encode("utf-8")) for document in documents)

    def __len__(self) -> int:
        """The number of documents."""
        return len(self.lengths)


def hold_out(documents: list[Document], share: float, seed: int) -> tuple[list[Document], list[Document]]:
    """Split off about a share of the text for validation: documents drawn at random, or the end of each of a few.

    Returns:
        What is left, and what is held out; equal documents are on one side.

    Raises:
        DataError: There is too little text.
    """
    if len(documents) * share < 1 and not any(document.prompt for document in documents):
        cuts = [len(document.text) - max(1, int(len(document.text) * share)) for document in documents]
        kept = [Document(document.text[:cut]) for document, cut in zip(documents, cuts, strict=True)]
        held = [Document(document.text[cut:]) for document, cut in zip(documents, cuts, strict=True)]
    else:
        order = np.random.default_rng(seed).permutation(len(documents))
        chosen = {documents[i] for i in order[: max(1, int(len(documents) * share))]}
        kept = [document for document in documents if document not in chosen]
        held = [document for document in documents if document in chosen]
    kept = [document for document in kept if document.text]
    if not kept:
        raise DataError("the text is too short to hold some out; give --valid-text or --valid-pairs")
    return kept, held


def write_documents(path: Path, documents: Sequence[Document]) -> None:
    """Write documents so that `load_documents` reads them back."""
    lines = [json.dumps(dataclasses.asdict(document), ensure_ascii=False) + "\n" for document in documents]
    path.write_bytes("".join(lines).encode("utf-8"))


def load_documents(path: Path) -> list[Document]:
    """Read what `write_documents` wrote.

    Raises:
        DataError: The file is damaged.
        OSError: It cannot be read.
    """
    return [
        Document(text_of(record, "text", where), text_of(record, "prompt", where))
        for where, record in records(str(path))
    ]
