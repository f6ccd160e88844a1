"""Keys that clients must show."""

import hashlib
import hmac
from collections.abc import Iterable


class Keys:
    """Compares keys in constant time, whatever their lengths.

    Args:
        keys: Those that are accepted; none: everybody is.
    """

    def __init__(self, keys: Iterable[str]) -> None:
        self._digests = [_digest(key) for key in keys]

    @classmethod
    def parse(cls, text: str | None) -> "Keys":
        """The keys of `HEED_API_KEY`, separated by commas."""
        return cls(key.strip() for key in (text or "").split(",") if key.strip())

    def __bool__(self) -> bool:
        """Whether a key is needed."""
        return bool(self._digests)

    def accept(self, key: str | None) -> bool:
        """Whether a client with this key is let in."""
        digest = _digest(key or "")
        same = [hmac.compare_digest(digest, known) for known in self._digests]  # all, so that the time tells nothing
        return any(same) or not self._digests


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
