import random

import numpy as np
import pytest

from heed.models.tokenizers.subwords import Tokenizer
from heed.transformer.data.augmentation.augmentation import Augmentation
from heed.transformer.data.batching import batches as batches_module
from heed.transformer.data.batching.batches import Batch, Batches
from heed.transformer.data.batching.pairs import Pairs
from heed.transformer.data.batching.variation import Variation
from heed.transformer.data.vocabulary import train_tokenizer

SHARE = 0.3


@pytest.fixture(scope="module")
def lines() -> list[str]:
    chosen = random.Random(1)
    words = ["attention", "is", "all", "you", "need", "understanding", "translation", "sentences"]
    return [" ".join(chosen.choices(words, k=chosen.randint(1, 8))) for _ in range(60)]


@pytest.fixture(scope="module")
def words(lines: list[str]) -> Tokenizer:
    return train_tokenizer(lines, vocab_size=60, name="words")


@pytest.fixture
def batches(words: Tokenizer, lines: list[str]) -> Batches:
    texts = Pairs(
        np.frombuffer("".join(line + line[::-1] for line in lines).encode(), dtype=np.uint8),
        np.array([0, *[len(line) for line in lines for _ in range(2)]]).cumsum(),
    )
    pairs = Pairs.of(words.encode(lines), words.encode([line[::-1] for line in lines]))
    variation = Variation([texts], words, words, SHARE)
    return Batches([pairs], words, words, batch_tokens=200, variation=variation)


def rows(batch: Batch) -> list[list[int]]:
    return batch.src.tolist() + batch.targets.tolist()


def test_a_seed_gives_the_same_subwords_in_any_thread_and_after_any_other(words: Tokenizer, lines: list[str]) -> None:
    first = words.sample(lines, SHARE, 7)
    assert words.sample(lines, SHARE, 8) != first
    words.sample(lines[:3], SHARE, 7)
    assert words.sample(lines, SHARE, 7) == first
    assert words.decode(first) == lines
    assert words.sample(lines, 0.0, 7) == words.encode(lines)
    assert sum(map(len, first)) > sum(map(len, words.encode(lines)))


@pytest.mark.parametrize("group", [2, 32])
def test_subwords_are_a_function_of_seed_epoch_and_batch(
    batches: Batches, group: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches_module, "GROUP", group)
    whole = [rows(batch) for batch in batches.epoch(0, 1)]
    assert len(whole) > 3
    for start in range(len(whole) + 1):
        rest = list(batches.epoch(0, 1, start))
        assert [rows(batch) for batch in rest] == whole[start:]
        assert [batch.share for batch in rest] == [batch.share for batch in batches.epoch(0, 1)][start:]


def test_the_text_of_an_epoch_is_the_same_in_other_subwords(batches: Batches, words: Tokenizer) -> None:
    seen = []
    for epoch in range(2):
        found = [row for batch in batches.epoch(epoch, 1) for row in batch.src.tolist()]
        seen.append(dict(zip(words.decode(found), found, strict=True)))
    assert seen[0].keys() == seen[1].keys()
    assert sum(seen[0][text] != seen[1][text] for text in seen[0]) > len(seen[0]) / 2


def test_validation_is_in_the_usual_subwords(batches: Batches, words: Tokenizer, lines: list[str]) -> None:
    found = [[token for token in row if token > 3] for batch in batches.in_order() for row in batch.src.tolist()]
    assert sorted(found) == sorted(words.encode(lines))


def test_augmented_pairs_are_a_function_of_seed_epoch_and_batch_too(words: Tokenizer, lines: list[str]) -> None:
    texts = Pairs(
        np.frombuffer("".join(line * 2 for line in lines).encode(), dtype=np.uint8),
        np.array([0, *[len(line) for line in lines for _ in range(2)]]).cumsum(),
    )
    pairs = Pairs.of(words.encode(lines), words.encode(lines))
    augmentation = Augmentation([], ("en", "de"), copy_share=0.0, case_share=0.5)
    variation = Variation([texts], words, words, 0.0, augmentation, max_length=1000)
    augmented = Batches([pairs], words, words, batch_tokens=200, variation=variation)
    whole = list(augmented.epoch(0, 1))
    assert 0 < sum(batch.n_recased for batch in whole) < len(lines)
    assert sum(batch.n_copied for batch in whole) == 0
    assert sum(len(batch.src) for batch in whole) == len(lines)
    for start in range(len(whole) + 1):
        assert [rows(batch) for batch in augmented.epoch(0, 1, start)] == [rows(batch) for batch in whole[start:]]


def test_what_augmentation_makes_too_long_stays_as_it_was(words: Tokenizer) -> None:
    pair = ("understanding attention", "understanding attention")
    longest = len(words.encode([pair[0]])[0])
    augmentation = Augmentation([], ("en", "de"), copy_share=0.0, case_share=1.0)
    texts = Pairs(np.frombuffer("".join(pair * 8).encode(), dtype=np.uint8), np.arange(17) * len(pair[0]))
    pairs = Pairs.of(*[words.encode([pair[0]] * 8)] * 2)
    n_recased = []
    for limit in (longest, 10 * longest):
        variation = Variation([texts], words, words, 0.0, augmentation, max_length=limit)
        found = list(Batches([pairs], words, words, batch_tokens=2000, variation=variation).epoch(0, 1))
        assert max(batch.src.shape[1] for batch in found) <= limit + 1  # with the end
        n_recased.append(sum(batch.n_recased for batch in found))
    assert n_recased[0] < n_recased[1]
