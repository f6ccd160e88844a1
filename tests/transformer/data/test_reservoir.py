import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heed.transformer.data.preparation import duplicates
from heed.transformer.data.preparation.duplicates import HASH, mark_duplicates, mark_equal
from heed.transformer.data.reservoir import BottomKSample, fingerprint, pair_fingerprint
from heed.transformer.data.text.sources import Source

NUMBERS = st.lists(st.integers(0, 40), max_size=60)


@given(NUMBERS, st.integers(1, 12), st.integers(0, 12))
def test_a_lot_keeps_the_smallest_each_as_it_came_first(numbers: list[int], limit: int, most: int) -> None:
    sample = BottomKSample[int](limit)
    for place, number in enumerate(numbers):
        sample.add(number, place)
    most = min(most, limit)
    expected = {number: numbers.index(number) for number in sorted(set(numbers))[:most]}
    assert sample.drawn(most) == expected
    assert list(sample.drawn(most).values()) == sorted(expected.values())  # in the order of the text
    assert len(sample) == min(limit, len(set(numbers)))


def test_fingerprints_differ_by_text_and_by_seed() -> None:
    found = {fingerprint(text, seed) for text in ("", "a", "b", "ab", "\u00e4") for seed in (0, 1, 2**63)}
    assert len(found) == 15
    assert all(0 <= number < 1 << 64 for number in found)
    assert fingerprint("a") == fingerprint("a", 0)


@given(NUMBERS.filter(bool), st.integers(1, 20))
def test_an_equal_hash_before_is_marked(
    tmp_path_factory: pytest.TempPathFactory, numbers: list[int], bucket: int
) -> None:
    directory = tmp_path_factory.mktemp("hashes")
    hashes, marks = directory / "hashes", directory / "marks"
    hashes.write_bytes(np.array(numbers, dtype=HASH).tobytes())
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(duplicates, "BUCKET", bucket)
        patched.setattr(duplicates, "CHUNK", 7)
        mark_equal(hashes, marks)
    assert list(marks.read_bytes()) == [int(number in numbers[:place]) for place, number in enumerate(numbers)]


def test_pairs_that_were_before_are_found_over_all_sources(
    write_lines: Callable[[str, list[str]], str], tmp_path: Path
) -> None:
    pairs = [("a", "b"), ("a", "c"), ("a", "b"), ("", "ab"), ("ab", ""), ("", "ab")]
    random.Random(1).shuffle(pairs)
    table = write_lines("a.tsv", [f"{src}\t{tgt}" for src, tgt in pairs])
    sides = [write_lines(f"a.{number}", [pair[number] for pair in pairs]) for number in (0, 1)]
    marks = mark_duplicates([Source((table,)), Source(tuple(sides))], tmp_path)
    twice = [*pairs, *pairs]
    assert list(marks.read_bytes()) == [int(pair in twice[:place]) for place, pair in enumerate(twice)]


TEXT = st.text("a\n:1", max_size=3)


@given(st.tuples(TEXT, TEXT), st.tuples(TEXT, TEXT))
def test_two_pairs_have_one_fingerprint_only_if_they_are_equal(one: tuple[str, str], other: tuple[str, str]) -> None:
    """Also where a line feed or a digit could belong to the one text or to the other."""
    assert (pair_fingerprint(*one) == pair_fingerprint(*other)) == (one == other)


def test_duplicates_take_time_in_proportion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each bucket once read all hashes: of so many more hashes, so many more times as many bytes."""
    monkeypatch.setattr(duplicates, "BUCKET", 100)
    monkeypatch.setattr(duplicates, "CHUNK", 50)
    hashes = tmp_path / "hashes"
    read = []
    for n_hashes in (1000, 10_000):
        hashes.write_bytes(np.random.default_rng(1).integers(0, 1 << 60, n_hashes).astype(HASH).tobytes())
        before = Path("/proc/self/io").read_text()
        mark_equal(hashes, tmp_path / "marks")
        after = Path("/proc/self/io").read_text()
        read.append(int(after.split()[1]) - int(before.split()[1]))
    assert read[1] < 15 * read[0]
