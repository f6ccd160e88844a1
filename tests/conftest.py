"""What several test files share."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from heed.models.tokenizer import Tokenizer
from heed.transformer.subwords import train_tokenizer


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Tiny tensors gain nothing from threads, and results do not depend on the machine."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def seed() -> None:
    """A test draws the same weights whichever ran before it."""
    torch.manual_seed(1)


@pytest.fixture(scope="session")
def digit_lines() -> Callable[[int, int], list[str]]:
    """Makes lines of 2 to 6 digits with spaces between: how many, by which seed."""

    def make(n_lines: int, seed: int) -> list[str]:
        chosen = random.Random(seed)
        numbers = (chosen.choices("0123456789", k=chosen.randint(2, 6)) for _ in range(n_lines))
        return [" ".join(number) for number in numbers]

    return make


@pytest.fixture(scope="session")
def digits(digit_lines: Callable[[int, int], list[str]]) -> Tokenizer:
    """A tokenizer for which each digit with the space before it is one token."""
    # 4 special pieces, the space, 10 digits, and 10 digits with a space.
    return train_tokenizer(digit_lines(500, 0), vocab_size=25, name="digits")


@pytest.fixture
def write_lines(tmp_path: Path) -> Callable[[str, list[str]], str]:
    """Writes a text file, a line each, and returns its name."""

    def write(name: str, lines: list[str]) -> str:
        path = tmp_path / name
        path.write_text("".join(line + "\n" for line in lines), "utf-8")
        return str(path)

    return write
