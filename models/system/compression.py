"""Compressed files, recognized by their suffix."""

from pathlib import Path
from types import ModuleType
from typing import BinaryIO, cast

from heed.models.errors import HeedError


def decompressed(file: BinaryIO, name: str) -> BinaryIO:
    """The decompressed content of an open file.

    Raises:
        HeedError: No module can read it.
    """
    if name.endswith(".gz"):
        import gzip  # imported here, because most files are not compressed

        return cast("BinaryIO", gzip.GzipFile(fileobj=file))
    if name.endswith(".zst"):
        return cast("BinaryIO", zstandard(name).ZstdFile(file))
    return file


def compress(data: bytes, path: Path) -> bytes:
    """Compress data to a whole member; concatenated members are a valid file.

    Raises:
        HeedError: No module can write it.
    """
    if path.suffix == ".gz":
        import gzip

        return gzip.compress(data, mtime=0)
    if path.suffix == ".zst":
        return cast("bytes", zstandard(str(path)).compress(data))
    return data


def zstandard(name: str) -> ModuleType:
    """Python's module for Zstandard, or its backport before 3.14.

    Raises:
        HeedError: Neither is installed.
    """
    try:
        import compression.zstd as zstd  # pyright: ignore[reportMissingImports] - from 3.14 on
    except ModuleNotFoundError:
        try:
            import backports.zstd as zstd
        except ModuleNotFoundError:
            raise HeedError(f"{name}: .zst needs a module; pip install 'heed[zst]', or use .gz") from None
    return cast("ModuleType", zstd)


def is_damage(error: Exception) -> bool:
    """Whether an error means a truncated or invalid compressed file."""
    import gzip
    import zlib

    # Zstandard's own error derives from Exception and is recognized by name.
    return isinstance(error, (EOFError, zlib.error, gzip.BadGzipFile)) or type(error).__name__ == "ZstdError"
