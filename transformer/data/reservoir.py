"""Reservoir: a reproducible sample of very many texts by their hashes, in bounded memory."""

import hashlib
import heapq
from typing import Generic, TypeVar

Item = TypeVar("Item")


def fingerprint(text: str, seed: int = 0) -> int:
    """A hash of 64 bits; it depends on the seed, which is below 2^64."""
    key = seed.to_bytes(8, "little")
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8"), digest_size=8, key=key).digest(), "little")


def pair_fingerprint(one: str, other: str) -> int:
    """A hash of two texts, which may hold any characters: where the one ends is part of it."""
    return fingerprint(f"{len(one)}:{one}{other}")


class BottomKSample(Generic[Item]):
    """Bottom-k sample by hash; of duplicates the first.

    Args:
        limit: Size of the sample (k).
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._items: dict[int, Item] = {}
        self._largest: list[int] = []  # heap of negated hashes

    def __len__(self) -> int:
        """The present size of the sample."""
        return len(self._items)

    def add(self, number: int, item: Item) -> None:
        """Add an item with its hash."""
        if number in self._items or (self._limit == len(self._items) and number > -self._largest[0]):
            return
        if self._limit == len(self._items):
            del self._items[-heapq.heappop(self._largest)]
        heapq.heappush(self._largest, -number)
        self._items[number] = item

    def drawn(self, most: int) -> dict[int, Item]:
        """At most `limit` items, in the order in which they were added."""
        chosen = set(sorted(self._items)[:most])
        return {number: item for number, item in self._items.items() if number in chosen}
