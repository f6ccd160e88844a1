import os
from pathlib import Path

import pytest

from heed.models.system.processor import available_cores


@pytest.fixture
def limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a container's share is written, on a machine of 8 cores."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    return tmp_path / "cpu.max"


@pytest.mark.parametrize(
    ("share", "cores"),
    [
        ("max 100000\n", 8),
        ("200000 100000\n", 2),
        ("350000 100000\n", 3),  # a fourth thread would wait half of its time
        ("50000 100000\n", 1),
        ("6400000 100000\n", 8),
        ("", 8),
    ],
)
def test_the_share_of_a_container_limits_the_cores(limit: Path, share: str, cores: int) -> None:
    limit.write_text(share)
    assert available_cores(limit) == cores


def test_without_a_container_all_cores_that_are_allowed_count(limit: Path) -> None:
    assert available_cores(limit) == 8


def test_where_no_cores_can_be_reserved_all_count(limit: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on macOS."""
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 5)
    assert available_cores(limit) == 5
