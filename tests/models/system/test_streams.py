import os
from pathlib import Path

import pytest

from heed.models.system.files import write_whole
from heed.models.system.streams import descriptor, is_stream


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("/dev/stdout", 1),
        ("/dev/stderr", 2),
        ("/dev/fd/7", 7),
        ("/dev/../dev/fd/7", 7),
        ("/proc/self/fd/3", 3),
        ("/proc/{pid}/fd/3", 3),
        ("/proc/1/fd/1", None),
        ("/dev/null", None),
        ("out.txt", None),
    ],
)
def test_paths_of_open_files(name: str, expected: int | None) -> None:
    assert descriptor(Path(name.format(pid=os.getpid()))) == expected


def test_links_are_followed_to_the_stream_and_not_beyond(tmp_path: Path) -> None:
    (tmp_path / "one").symlink_to("two")
    (tmp_path / "two").symlink_to("/dev/stdout")
    (tmp_path / "circle").symlink_to("circle")
    assert descriptor(tmp_path / "one") == 1
    assert descriptor(tmp_path / "circle") is None


def test_files_and_directories_are_no_streams(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "pipe")
    found = {name: is_stream(tmp_path / name) for name in ("file", "pipe", "nothing", ".")}
    assert found == {"file": False, "pipe": True, "nothing": False, ".": False}
    assert is_stream(Path("/dev/null"))


def test_a_small_file_is_written_into_a_pipe_and_a_device_stays(tmp_path: Path) -> None:
    """Renamed over it, as over a file, it would take the place of /dev/null."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_whole(pipe, b"data")
    assert os.read(reader, 9) == b"data"
    os.close(reader)
    write_whole(Path("/dev/null"), b"data")
    assert Path("/dev/null").is_char_device()
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]
