"""A file that grows for hours, aside until it is complete, and that a job can go on with."""

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from heed.models.errors import HeedError
from heed.models.system.files import named_errors, sync, write_whole

COMMIT_EVERY = 1.0  # seconds between two notes of how far it is, each of which waits for the disk


class GrownFile:
    """Grows under the name `path` and ".part", and takes the name `path` when its block ends without an error.

    A note beside it, ".part.json", says of which job it is, and how far the job was when so many bytes were on the
    disk. Whatever ends the program, a later one can cut the file back to there and go on. After an error in the block
    both stay.

    Args:
        path: The file to be made; the caller has found out whether it may be.
        job: What the bytes depend on.
        resume: Go on where the file ends.
        force: Begin anew over an earlier job's file.

    Raises:
        HeedError: There is a file of an earlier job, and neither is set; it is not of this job; or another program
            writes it.
    """

    def __init__(self, path: Path, job: Mapping[str, object], *, resume: bool = False, force: bool = False) -> None:
        self.path = path
        self.aside = path.with_name(path.name + ".part")
        self.progress: Any = None  # what the last `write` said, of this job or of the one it goes on with
        self._note = path.with_name(path.name + ".part.json")
        self._job = json.loads(json.dumps(job))
        self._size = 0
        self._committed = time.monotonic()
        if not resume and not force and self.aside.exists():
            raise HeedError(
                f"{self.aside}: exists already, of a job that was not finished; go on with --resume, or begin anew "
                "with --force"
            )
        self._file = self.aside.open("r+b" if self.aside.exists() else "xb", buffering=0)
        try:
            self._lock()
            if resume and os.fstat(self._file.fileno()).st_size:
                self._size, self.progress = self._read_note()
            self._cut()
            self._commit()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> "GrownFile":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        with self._file:
            if kind is None:
                self._commit()
                self.aside.replace(self.path)
                self._note.unlink()
                sync(self.path.absolute().parent)
                return
            with contextlib.suppress(OSError):  # a full disk, most likely; the last note holds
                self._cut()
                self._commit()

    def write(self, data: bytes, progress: object) -> None:
        """Add bytes, whole lines, and say how far the job is with them.

        Raises:
            OSError: They cannot be written; what of them was, is not counted.
        """
        with named_errors(self.aside):
            rest = memoryview(data)
            while rest:
                rest = rest[self._file.write(rest) :]
        self._size += len(data)
        self.progress = progress
        if time.monotonic() - self._committed >= COMMIT_EVERY:
            self._commit()

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Between opening and locking, another one may have completed the file, which bears its name now.
            mine = os.path.samestat(os.fstat(self._file.fileno()), self.aside.stat())
        except (BlockingIOError, FileNotFoundError):
            mine = False
        if not mine:
            raise HeedError(f"{self.aside}: another heed writes it; wait for it, or choose another name")

    def _read_note(self) -> tuple[int, Any]:
        """How many bytes are good, and how far the job was with them."""
        try:
            note = json.loads(self._note.read_bytes())
            job, size, progress = note["job"], int(note["size"]), note["progress"]
        except PermissionError:
            raise
        except (OSError, ValueError, LookupError, TypeError):
            raise HeedError(f"{self._note}: does not say what {self.aside} is; begin anew with --force") from None
        different = sorted(name for name in job.keys() | self._job.keys() if job.get(name) != self._job.get(name))
        if different:
            raise HeedError(
                f"{self.aside}: of another job ({', '.join(different)}); repeat the command as it was, or begin anew "
                "with --force"
            )
        if os.fstat(self._file.fileno()).st_size < size:
            raise HeedError(f"{self.aside}: shorter than {self._note} says; begin anew with --force")
        return size, progress

    def _cut(self) -> None:
        """Leave what is counted."""
        self._file.truncate(self._size)
        self._file.seek(self._size)

    def _commit(self) -> None:
        with named_errors(self.aside):
            os.fsync(self._file.fileno())
        note = {"job": self._job, "size": self._size, "progress": self.progress}
        write_whole(self._note, json.dumps(note, ensure_ascii=False).encode() + b"\n")
        self._committed = time.monotonic()
