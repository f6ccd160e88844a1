import os
from pathlib import Path

import pytest

from heed.models.system.processor import available_cores


@pytest.fixture
def cgroups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where control groups are mounted, on a machine of 8 cores."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    return tmp_path / "cgroup"


def cores(cgroups: Path, own: str, files: dict[str, str]) -> int:
    """The cores where these are the process's groups and the files of all groups."""
    for name, content in files.items():
        (cgroups / name).parent.mkdir(parents=True, exist_ok=True)
        (cgroups / name).write_text(content)
    own_file = cgroups.with_name("own")
    own_file.write_text(own)
    return available_cores(cgroups, own_file)


@pytest.mark.parametrize(
    ("share", "expected"),
    [
        ("max 100000\n", 8),
        ("200000 100000\n", 2),
        ("350000 100000\n", 3),  # a fourth thread would wait half of its time
        ("50000 100000\n", 1),
        ("6400000 100000\n", 8),
        ("", 8),
    ],
)
def test_the_share_of_a_container_limits_the_cores(cgroups: Path, share: str, expected: int) -> None:
    assert cores(cgroups, "0::/\n", {"cpu.max": share}) == expected


@pytest.mark.parametrize(
    ("outer", "inner", "expected"), [("max", "300000", 3), ("200000", "max", 2), ("200000", "500000", 2)]
)
def test_a_group_within_a_group_is_bound_by_both(cgroups: Path, outer: str, inner: str, expected: int) -> None:
    """As systemd makes them: CPUQuota= of a slice, and of a service in it."""
    files = {"user.slice/cpu.max": f"{outer} 100000\n", "user.slice/heed.service/cpu.max": f"{inner} 100000\n"}
    assert cores(cgroups, "0::/user.slice/heed.service\n", files) == expected


@pytest.mark.parametrize("mount", ["cpu", "cpu,cpuacct"])
@pytest.mark.parametrize("group", ["", "docker/8f3/"])  # mounted as the root of a container, and as it is on the host
def test_version_1_is_seen(cgroups: Path, mount: str, group: str) -> None:
    files = {f"{mount}/{group}cpu.cfs_quota_us": "250000\n", f"{mount}/{group}cpu.cfs_period_us": "100000\n"}
    assert cores(cgroups, "4:memory:/docker/8f3\n2:cpu,cpuacct:/docker/8f3\n0::/\n", files) == 2


def test_version_1_without_a_quota_bounds_nothing(cgroups: Path) -> None:
    files = {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}
    assert cores(cgroups, "2:cpu:/\n", files) == 8


def test_without_a_container_all_cores_that_are_allowed_count(cgroups: Path) -> None:
    assert available_cores(cgroups, cgroups / "own") == 8


def test_where_no_cores_can_be_reserved_all_count(cgroups: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on macOS."""
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 5)
    assert available_cores(cgroups, cgroups / "own") == 5
