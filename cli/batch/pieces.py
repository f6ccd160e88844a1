"""An output whose blocks are done in any order: each is kept as a piece until all are there."""

from pathlib import Path

from heed.cli.batch.job import Block
from heed.cli.batch.storage import Storage
from heed.models.system.compression import compress

SUFFIX = ".parts"  # of the directory that keeps the pieces


class PiecedOutput:
    """Keeps a piece for each block in `name` plus ".parts", and joins them when all are there.

    The name of a piece tells the block's place and content, and what else the result depends on. So whoever does the
    job again finds what is done of it, and a piece of other lines or of other options is none of it.

    Args:
        name: Path or URL of the output; its suffix decides about compression.
        storage: What keeps it.
    """

    def __init__(self, name: str, storage: Storage) -> None:
        self.name, self._storage = name, storage
        self.directory = f"{name}{SUFFIX}"
        self._path = Path(name)  # for its suffix
        self._there = storage.names(self.directory)
        self._order: list[str] = []  # names of the pieces

    def lacks(self, block: Block) -> bool:
        """Take the next block of the output; whether it must be done."""
        self._order.append(_piece(block))
        return self._order[-1] not in self._there

    def put(self, block: Block, data: bytes) -> None:
        """Keep the lines of a block.

        Raises:
            OSError: They cannot be written.
        """
        self._storage.write(f"{self.directory}/{_piece(block)}", compress(data, self._path))

    def join(self) -> None:
        """Make the output of the pieces, which must all be there.

        Raises:
            OSError: It cannot be written.
        """
        pieces = [f"{self.directory}/{name}" for name in self._order]
        if not pieces:  # the output of an empty input
            pieces = [f"{self.directory}/nothing"]
            self._storage.write(pieces[0], compress(b"", self._path))
        self._storage.join(pieces, f"{self.directory}/whole", self.name)
        self.clear()

    def clear(self) -> None:
        """Remove the pieces."""
        self._storage.remove(self.directory)


def _piece(block: Block) -> str:
    return f"{block.first:012}-{len(block.records)}-{block.digest}"
