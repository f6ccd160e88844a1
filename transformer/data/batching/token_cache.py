"""Token cache: tokens on disk, under a key that is a function of the text and of the processing."""

import contextlib
import dataclasses
import hashlib
import json
import shutil
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from heed.models.errors import DataError, HeedError
from heed.models.system.files import directory_whole, hidden_beside, refuse_existing, sha256, write_whole

VERSION = 2  # version of the processing; another version has other keys
OWN = "cache"  # directory in a run, unless another was named
RECORD = "text.json"


@dataclasses.dataclass(frozen=True)
class TextFile:
    """A text file as it was when it was read."""

    path: str
    size: int  # bytes
    modified: int  # nanoseconds; if it and the size are unchanged, so is the content
    sha256: str

    @classmethod
    def read(cls, path: str) -> "TextFile":
        """The present state of a file.

        Raises:
            DataError: It can be read only once.
            OSError: It cannot be read.
        """
        status = Path(path).stat()
        if not stat.S_ISREG(status.st_mode):
            raise DataError(f"{path}: not a regular file, but text is read several times; store it in a file")
        return cls(path, status.st_size, status.st_mtime_ns, sha256(Path(path)))

    def has_changed(self) -> bool:
        """Whether the file has changed; a missing file has not."""
        if not Path(self.path).exists():
            return False
        status = Path(self.path).stat()
        same = (status.st_size, status.st_mtime_ns) == (self.size, self.modified)
        return not same and (status.st_size != self.size or sha256(Path(self.path)) != self.sha256)


@dataclasses.dataclass(frozen=True)
class TextRecord:
    """The training text of a run, and the place of its tokens."""

    files: tuple[TextFile, ...]
    key: str
    cache: str | None = None  # directory of the cache; None: in the run

    def write(self, run: Path) -> None:
        """Write it into the directory of a run."""
        write_whole(run / RECORD, (json.dumps(dataclasses.asdict(self), indent=1) + "\n").encode("utf-8"))

    @classmethod
    def load(cls, run: Path) -> "TextRecord | None":
        """Read the record of a run; None if there is none yet.

        Raises:
            DataError: It is damaged.
        """
        path = run / RECORD
        try:
            table = json.loads(path.read_text("utf-8"))
            return cls(tuple(TextFile(**file) for file in table["files"]), table["key"], table["cache"])
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, KeyError) as error:
            raise DataError(f"{path}: damaged ({error}); delete it, and heed reads the text again") from None

    @classmethod
    def of_run(cls, run: Path, paths: Sequence[str], key: Callable[[Sequence[TextFile]], str]) -> "TextRecord":
        """The record of a run; for a run from before there were records, a new one.

        Args:
            run: The run's directory.
            paths: The files of its text.
            key: Key of its tokens, for the present files.

        Raises:
            DataError: It is damaged.
        """
        record = cls.load(run)
        if record is None:
            files = read_files(paths)
            record = cls(files, key(files))
            record.write(run)
        return record

    def entry(self, run: Path) -> Path:
        """The directory of the tokens."""
        return (Path(self.cache) if self.cache else run / OWN) / self.key

    def require(self, run: Path) -> Path:
        """The directory of the tokens, which exist or can be made again from the same text.

        Raises:
            DataError: A file has changed, or a file and the tokens are missing.
        """
        entry = self.entry(run)
        for file in self.files:
            if file.has_changed():
                raise DataError(
                    f"{file.path}: changed since {run} was made; restore it, or train a new run on the new text"
                )
            if not entry.is_dir() and not Path(file.path).exists():
                raise DataError(f"{file.path}: missing, and so are the tokens of {run} in {entry}; restore either")
        return entry


def key_of(**parts: object) -> str:
    """The key of what is made from these parts."""
    return hashlib.sha256(json.dumps({"version": VERSION, **parts}, sort_keys=True).encode()).hexdigest()[:32]


def make_entry(path: Path, fill: Callable[[Path], None]) -> None:
    """Create a directory atomically with `fill`, unless it exists.

    Several runs may share a cache; if another one has created it in the meantime, its work is used.
    """
    if path.is_dir():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with directory_whole(path) as aside:
            fill(aside)
            refuse_existing(path, force=False)
    except (OSError, HeedError):
        if not path.is_dir():
            raise


@contextlib.contextmanager
def workplace(run: Path, cache: Path | None) -> Iterator[Path]:
    """The named cache, or a temporary one beside a new run, which the run takes over."""
    if cache:
        yield cache
        return
    aside = hidden_beside(run)
    aside.mkdir()
    try:
        (aside / OWN).mkdir()
        yield aside / OWN
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def read_files(paths: Sequence[str]) -> tuple[TextFile, ...]:
    """The present state of files, each once."""
    return tuple(TextFile.read(path) for path in dict.fromkeys(paths))
