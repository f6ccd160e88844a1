import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from heed.models.errors import HeedError
from heed.models.system.files import directory_whole, refuse_existing, sha256, write_whole


class Interruption(BaseException):
    """As KeyboardInterrupt: no Exception."""


def permissions(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def fill_and_fail(path: Path, error: type[BaseException], *, force: bool) -> None:
    with directory_whole(path, force=force) as aside:
        (aside / "file").write_text("after")
        raise error


@contextlib.contextmanager
def write_small(path: Path) -> Iterator[None]:
    yield
    write_whole(path, b"data")


@pytest.fixture(params=[0o022, 0o077, 0o002], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


@pytest.fixture
def fail_at_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fail)


@pytest.mark.usefixtures("fail_at_the_disk")
def test_a_full_disk_is_an_error_of_what_was_to_be_written(tmp_path: Path) -> None:
    """The operating system names no file when a write fails."""
    for write in (directory_whole, write_small):
        path = tmp_path / write.__name__
        with pytest.raises(OSError) as caught, write(path):  # noqa: PT011 - what it says is checked below
            pass
        assert caught.value.errno == errno.ENOSPC
        assert str(caught.value.filename).startswith(str(path))
        assert not path.exists()


def test_a_relative_name_is_meant_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with directory_whole(Path("directory")):
        write_whole(Path("file"), b"")
    assert names(tmp_path) == ["directory", "file"]


def test_a_directory_appears_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "new"
    with directory_whole(path) as aside:
        (aside / "file").write_text("data")
        (aside / "inner").mkdir()
        assert not path.exists()
    assert names(path) == ["file", "inner"]
    assert names(tmp_path) == ["new"]


def test_a_directory_honours_the_umask(tmp_path: Path, umask: int) -> None:
    with directory_whole(tmp_path / "new"):
        pass
    assert permissions(tmp_path / "new") == 0o777 & ~umask


@pytest.mark.parametrize("error", [ValueError, Interruption])
@pytest.mark.parametrize("force", [False, True])
def test_after_an_error_there_is_nothing_new(tmp_path: Path, force: bool, error: type[BaseException]) -> None:
    with pytest.raises(error):
        fill_and_fail(tmp_path / "new", error, force=force)
    assert names(tmp_path) == []


def test_after_an_error_what_should_be_replaced_is_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "old"
    path.mkdir()
    (path / "file").write_text("before")
    with pytest.raises(Interruption):
        fill_and_fail(path, Interruption, force=True)
    assert (path / "file").read_text() == "before"
    assert names(tmp_path) == ["old"]


def test_what_exists_is_replaced_by_force_alone(tmp_path: Path) -> None:
    path = tmp_path / "old"
    path.mkdir()
    (path / "earlier").write_text("before")
    with pytest.raises(HeedError) as caught, directory_whole(path):
        pytest.fail("nothing may be done for a result that cannot be stored")
    assert str(caught.value) == f"{path}: already exists; choose another name, or overwrite it with --force"
    assert names(path) == ["earlier"]
    with directory_whole(path, force=True) as aside:
        (aside / "later").write_text("after")
        assert names(path) == ["earlier"]
    assert names(path) == ["later"]
    assert names(tmp_path) == ["old"]


def test_what_cannot_be_replaced_is_put_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last rename may fail; what stood there must not go with the directory that it was moved to."""
    path = tmp_path / "old"
    path.mkdir()
    (path / "file").write_text("before")
    rename = Path.rename

    def fail_for_the_new(source: Path, target: Path) -> Path:
        if (source / "new").exists():
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
        return rename(source, target)

    monkeypatch.setattr(Path, "rename", fail_for_the_new)
    with pytest.raises(PermissionError), directory_whole(path, force=True) as aside:
        (aside / "new").touch()
    assert (path / "file").read_text() == "before"
    assert names(tmp_path) == ["old"]


def test_a_file_in_the_way_is_replaced_by_force(tmp_path: Path) -> None:
    path = tmp_path / "old"
    path.write_text("a file")
    with directory_whole(path, force=True):
        pass
    assert path.is_dir()
    assert names(tmp_path) == ["old"]


def test_a_missing_parent_is_named(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "new"
    with pytest.raises(HeedError) as caught:
        refuse_existing(path, force=True)
    assert str(caught.value) == f"{path}: the directory {path.parent} does not exist; create it first"


def test_a_small_file_is_written_anew(tmp_path: Path) -> None:
    path = tmp_path / "note"
    for data in (b"one", b"two"):
        write_whole(path, data)
        assert path.read_bytes() == data
    assert names(tmp_path) == ["note"]


def test_the_checksum_is_sha_256(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    assert sha256(path) == hashlib.sha256(b"abc").hexdigest()
