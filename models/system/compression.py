"""Files that are read and written compressed, by the end of their name."""

import gzip
import zlib
from pathlib import Path
from types import ModuleType
from typing import BinaryIO, cast

from heed.models.errors import HeedError

# A file that ends early, and damage to it; of Zstandard's own error the base is Exception, so it is found by name.
DAMAGE = (EOFError, zlib.error, gzip.BadGzipFile)


def decompressed(file: BinaryIO, name: str) -> BinaryIO:
    """The content of an open file.

    Raises:
        HeedError: Nothing here can read it.
    """
    if name.endswith(".gz"):
        return cast("BinaryIO", gzip.GzipFile(fileobj=file))
    if name.endswith(".zst"):
        return cast("BinaryIO", zstandard(name).ZstdFile(file))
    return file


def compress(data: bytes, path: Path) -> bytes:
    """A whole member of the file `path`, so that members written one after another are one file of the data.

    Raises:
        HeedError: Nothing here can write it.
    """
    if path.suffix == ".gz":
        return gzip.compress(data, mtime=0)
    if path.suffix == ".zst":
        return cast("bytes", zstandard(str(path)).compress(data))
    return data


def zstandard(name: str) -> ModuleType:
    """Python's own module for Zstandard, or the one that stands for it before 3.14.

    Raises:
        HeedError: There is neither.
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
    """Whether a compressed file broke off or is none."""
    return isinstance(error, DAMAGE) or type(error).__name__ == "ZstdError"
