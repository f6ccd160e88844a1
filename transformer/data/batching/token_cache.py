"""Where tokens are kept: under a key that is a function of the text and of what was made of it."""

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

VERSION = 2  # of what is made of text: another one has other keys
OWN = "cache"  # of a run, where no other was named
RECORD = "text.json"


@dataclasses.dataclass(frozen=True)
class TextFile:
    """A file of text as it was when it was read."""

    path: str
    size: int  # bytes
    modified: int  # nanoseconds; where it and the size are the same, so is the content
    sha256: str

    @classmethod
    def read(cls, path: str) -> "TextFile":
        """What a file is now.

        Raises:
            DataError: It can be read only once.
            OSError: It cannot be read.
        """
        status = Path(path).stat()
        if not stat.S_ISREG(status.st_mode):
            raise DataError(f"{path}: no file, and text is read several times; store it in one")
        return cls(path, status.st_size, status.st_mtime_ns, sha256(Path(path)))

    def has_changed(self) -> bool:
        """Whether the file is another one now; not, if it is gone."""
        if not Path(self.path).exists():
            return False
        status = Path(self.path).stat()
        same = (status.st_size, status.st_mtime_ns) == (self.size, self.modified)
        return not same and (status.st_size != self.size or sha256(Path(self.path)) != self.sha256)


@dataclasses.dataclass(frozen=True)
class TextRecord:
    """Which text a run learns from, and where its tokens are."""

    files: tuple[TextFile, ...]
    key: str
    cache: str | None = None  # directory; None: the run's own

    def write(self, run: Path) -> None:
        """Write it into the directory of a run."""
        write_whole(run / RECORD, (json.dumps(dataclasses.asdict(self), indent=1) + "\n").encode("utf-8"))

    @classmethod
    def load(cls, run: Path) -> "TextRecord | None":
        """That of a run; None, where there is none yet.

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
            raise DataError(f"{path}: damaged ({error}); delete it, and the text is read again") from None

    @classmethod
    def of_run(cls, run: Path, paths: Sequence[str], key: Callable[[Sequence[TextFile]], str]) -> "TextRecord":
        """That of a run; of one from before there were records it is made now.

        Args:
            run: Its directory.
            paths: The files of its text.
            key: Of its tokens, for files as they are now.

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
        """The directory of the tokens, which are there or can be made again from the same text.

        Raises:
            DataError: A file has changed, or is gone as the tokens are.
        """
        entry = self.entry(run)
        for file in self.files:
            if file.has_changed():
                raise DataError(
                    f"{file.path}: has changed since {run} was made; restore it, or train a new run on the new text"
                )
            if not entry.is_dir() and not Path(file.path).exists():
                raise DataError(f"{file.path}: is gone, and so are the tokens of {run} in {entry}; restore either")
        return entry


def key_of(**parts: object) -> str:
    """A name for what is made of these parts."""
    return hashlib.sha256(json.dumps({"version": VERSION, **parts}, sort_keys=True).encode()).hexdigest()[:32]


def make_entry(path: Path, fill: Callable[[Path], None]) -> None:
    """Make a directory by `fill`, whole or not at all, unless it is there.

    Several runs may share a cache: where another one has made it in the meantime, its work is taken.
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
    """The cache that is named, or one beside a run that is to be made, which the run takes over or nobody."""
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
    """Files as they are now, each once."""
    return tuple(TextFile.read(path) for path in dict.fromkeys(paths))
