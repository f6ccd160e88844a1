"""Atomic files and directories: written under a temporary name, synced, then renamed."""

import contextlib
import hashlib
import mmap
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from heed.models.errors import HeedError
from heed.models.system.streams import is_stream, open_stream

OVERWRITE = "choose another name, or overwrite it with --force"


def refuse_existing(path: Path, *, force: bool, way_out: str = OVERWRITE) -> None:
    """Refuse a path that could not be written later, before any work is done.

    Raises:
        HeedError: `path` exists and `force` is not set, or its parent directory does not exist.
    """
    if path.exists() and not force:
        raise HeedError(f"{path}: already exists; {way_out}")
    if not path.absolute().parent.is_dir():
        raise HeedError(f"{path}: the directory {path.absolute().parent} does not exist; create it first")


@contextlib.contextmanager
def directory_whole(path: Path, *, force: bool = False) -> Iterator[Path]:
    """Create a directory under a temporary name, which becomes `path` when the block ends without an error.

    Args:
        path: The new directory.
        force: Replace an existing `path`; it stays until the new directory is complete.

    Raises:
        HeedError: `path` exists and `force` is not set.
    """
    refuse_existing(path, force=force)
    aside = hidden_beside(path)
    aside.mkdir()
    try:
        with named_errors(path):
            yield aside
            for file in aside.iterdir():
                sync(file)
            sync(aside)
        if path.exists():
            with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=aside.parent) as old:
                path.rename(Path(old) / path.name)
                try:
                    aside.rename(path)
                except BaseException:
                    (Path(old) / path.name).rename(path)
                    raise
        else:
            aside.rename(path)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    sync(path.absolute().parent)


@contextlib.contextmanager
def file_whole(path: Path, *, force: bool = False) -> Iterator[BinaryIO]:
    """Write a file under a temporary name, which becomes `path` when the block ends without an error.

    Raises:
        HeedError: `path` exists and `force` is not set.
    """
    refuse_existing(path, force=force)
    aside = hidden_beside(path)
    try:
        with named_errors(path), aside.open("w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    sync(path.absolute().parent)


def write_whole(path: Path, data: bytes) -> None:
    """Write a small file; whoever reads it meets the old one or the new. A pipe or a device is written to."""
    if is_stream(path):
        with named_errors(path), open_stream(path) as stream:
            rest = memoryview(data)
            while rest:
                rest = rest[stream.write(rest) :]
        return
    aside = path.with_name(path.name + ".new")
    with named_errors(aside), aside.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)


@contextlib.contextmanager
def named_errors(path: Path) -> Iterator[None]:
    """Add the name `path` to an OSError without a file name, such as that of a full disk."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_mapped(path: Path) -> str:
    """The same of a file that is not empty and that nobody shortens: by one call, which does not hold Python's lock.

    A thread that reads piece by piece waits for that lock after each.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return hashlib.sha256(content).hexdigest()


def hidden_beside(path: Path) -> Path:
    """A name for what becomes `path`: no other has it, and what is made under it has the permissions of the umask."""
    return path.absolute().with_name(f".{path.name}.{os.urandom(8).hex()}")


def share(file: Path) -> None:
    """Give a file that a library has made for its owner alone the permissions of the directory it stands in.

    Raises:
        OSError: It is another user's.
    """
    file.chmod(file.parent.stat().st_mode & 0o666)


def sync(path: Path) -> None:
    """Flush a file or a directory's entries to disk, so that they survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
