"""What a large job is made of: outputs, each of blocks of records, which workers answer."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol


class Answer(NamedTuple):
    """What a worker made of a block."""

    result: Any
    n_tokens: int  # that it wrote or scored


class Failure(NamedTuple):
    """A block that no worker could do."""

    reason: str


class Worker(Protocol):
    """What answers blocks; it is pickled, sent to where it works, and loads the model there."""

    @property
    def device(self) -> str:
        """Where the model runs: "cpu" or "cuda"."""
        ...

    @property
    def threads(self) -> int | None:
        """Threads that it computes with; None: as many as there are cores."""
        ...

    def load(self, models: Sequence[Path]) -> Callable[[Any], Answer]:
        """Load the model, or those of an ensemble; returns what answers the request of a block.

        Raises:
            HeedError: The model cannot be used there.
        """
        ...


class Block(NamedTuple):
    """Records that are sent to a worker together."""

    first: int  # number of the first record within its output, counted from 0
    records: list[Any]
    request: Any  # what the worker is told of them
    digest: str  # of the records, and of what else the result depends on


class FileJob(Protocol):
    """The inputs that become one output."""

    output: str  # path or URL

    @property
    def position(self) -> int:
        """Bytes of the inputs that were read, where known."""
        ...

    def blocks(self) -> Iterator[Block]:
        """The blocks, in order.

        Raises:
            HeedError: The inputs cannot be read further.
        """
        ...

    def written(self, block: Block, answer: Answer) -> bytes:
        """The lines of the output for a block; blocks may come in any order."""
        ...

    def close(self) -> None:
        """Tell what the user must know of the output, which is complete.

        Raises:
            DataError: Some of the input was refused; the output says what.
        """
        ...


class Numbering:
    """Makes blocks of lists of records, numbered over one output.

    Args:
        note: What the output depends on, besides the records.
    """

    def __init__(self, note: Mapping[str, object]) -> None:
        self._note = json.dumps(note, sort_keys=True, default=str).encode()

    def blocks(self, lists: Iterable[list[Any]], request: Callable[[int, list[Any]], Any]) -> Iterator[Block]:
        """The blocks; `request` gets the number of the first record and the records."""
        first = 0
        for records in lists:
            digest = hashlib.blake2b(self._note, digest_size=12)
            for record in records:
                digest.update(_digested(record))
            yield Block(first, records, request(first, records), digest.hexdigest())
            first += len(records)


def _digested(record: Any) -> bytes:
    """The content of a record; lengths part what stands side by side."""
    if isinstance(record, str):
        parts: tuple[bytes, ...] = (record.encode(),)
    else:
        parts = (record.before, *map(str.encode, record.texts), record.after, record.inside.encode())
    return b"".join(b"%d:%s" % (len(part), part) for part in parts)
