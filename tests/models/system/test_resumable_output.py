import errno
import fcntl
import json
import os
from pathlib import Path

import pytest

from heed.models.errors import HeedError
from heed.models.system import resumable_output as grown_file
from heed.models.system.resumable_output import GrownFile


class Interruption(BaseException):
    """As KeyboardInterrupt: no Exception."""


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def break_off(path: Path, *lines: bytes, resume: bool = False) -> None:
    with GrownFile(path, {"n": 1}, resume=resume) as file:
        for number, line in enumerate(lines):
            file.write(line, number)
        raise Interruption


def test_it_has_its_name_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "output"
    path.write_bytes(b"before")
    with GrownFile(path, {}) as file:
        file.write(b"one\n", 1)
        assert (path.read_bytes(), file.aside.read_bytes()) == (b"before", b"one\n")
        file.write(b"two\n", 2)
    assert path.read_bytes() == b"one\ntwo\n"
    assert names(tmp_path) == ["output"]


def test_after_an_error_it_goes_on_where_it_was(tmp_path: Path) -> None:
    path = tmp_path / "output"
    with pytest.raises(Interruption):
        break_off(path, b"one\n", b"two\n")
    assert names(tmp_path) == ["output.part", "output.part.json"]
    with GrownFile(path, {"n": 1}, resume=True) as file:
        assert file.progress == 1
        file.write(b"three\n", 2)
    assert path.read_bytes() == b"one\ntwo\nthree\n"
    assert names(tmp_path) == ["output"]


def test_what_no_note_counts_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after kill -9: lines were written, and the last perhaps in part, since the last note."""
    monkeypatch.setattr(grown_file, "COMMIT_EVERY", 0.0)
    path = tmp_path / "output"
    with pytest.raises(Interruption):
        break_off(path, b"one\n", b"two\n")
    with (tmp_path / "output.part").open("ab") as file:
        file.write(b"three\nfo")
    with GrownFile(path, {"n": 1}, resume=True) as file:
        assert file.progress == 1
        assert file.aside.read_bytes() == b"one\ntwo\n"


def test_a_write_that_fails_counts_for_nothing(tmp_path: Path) -> None:
    class Disk:
        """Takes two bytes, and is full then."""

        def __init__(self, file: object) -> None:
            self._file, self._room = file, 2

        def __getattr__(self, name: str) -> object:
            return getattr(self._file, name)

        def write(self, data: bytes) -> int:
            if not self._room:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self._room = 0
            return int(self._file.write(data[:2]))  # type: ignore[attr-defined]

    def fill() -> None:
        with GrownFile(tmp_path / "output", {"n": 1}) as file:
            file.write(b"one\n", 1)
            monkeypatched = file._file
            file._file = Disk(file._file)  # type: ignore[assignment]
            try:
                file.write(b"two\n", 2)
            finally:
                file._file = monkeypatched

    with pytest.raises(OSError, match=r"No space left.*output\.part"):
        fill()
    assert (tmp_path / "output.part").read_bytes() == b"one\n"
    assert json.loads((tmp_path / "output.part.json").read_bytes())["size"] == 4


def test_a_file_of_an_earlier_job_is_kept_unless_forced(tmp_path: Path) -> None:
    aside = tmp_path / "output.part"
    aside.write_bytes(b"mine")
    with pytest.raises(HeedError) as caught:
        GrownFile(tmp_path / "output", {})
    assert str(caught.value) == (
        f"{aside}: already exists, from an unfinished job; continue with --resume, or start over with --force"
    )
    assert aside.read_bytes() == b"mine"
    with GrownFile(tmp_path / "output", {}, force=True) as file:
        file.write(b"new\n", 1)
    assert (tmp_path / "output").read_bytes() == b"new\n"


@pytest.mark.parametrize("note", [None, b"", b"[]", b'{"job": {}}', b"\xff"])
def test_a_file_without_a_sound_note_is_nobody_s(tmp_path: Path, note: bytes | None) -> None:
    aside, beside = tmp_path / "output.part", tmp_path / "output.part.json"
    aside.write_bytes(b"mine")
    if note is not None:
        beside.write_bytes(note)
    with pytest.raises(HeedError, match=r"does not describe .*output\.part; start over with --force$"):
        GrownFile(tmp_path / "output", {}, resume=True)
    assert aside.read_bytes() == b"mine"


def test_an_empty_file_without_a_note_is_a_beginning(tmp_path: Path) -> None:
    """The program may have been killed between the two."""
    (tmp_path / "output.part").touch()
    with GrownFile(tmp_path / "output", {}, resume=True) as file:
        assert file.progress is None


def test_another_job_is_refused_by_what_differs(tmp_path: Path) -> None:
    with pytest.raises(Interruption):
        break_off(tmp_path / "output", b"one\n")
    with pytest.raises(HeedError, match=r"from another job \(m, n\); repeat the command unchanged, or start over"):
        GrownFile(tmp_path / "output", {"n": 2, "m": 1}, resume=True)
    assert (tmp_path / "output.part").read_bytes() == b"one\n"


def test_a_file_that_has_lost_lines_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Interruption):
        break_off(tmp_path / "output", b"one\n", b"two\n")
    os.truncate(tmp_path / "output.part", 5)
    with pytest.raises(HeedError, match="shorter than"):
        GrownFile(tmp_path / "output", {"n": 1}, resume=True)


def test_two_at_a_time_do_not_write_it(tmp_path: Path) -> None:
    with GrownFile(tmp_path / "output", {}) as file:
        file.write(b"one\n", 1)
        for how in ({"resume": True}, {"force": True}):
            with pytest.raises(HeedError, match="another heed is writing it"):
                GrownFile(tmp_path / "output", {}, **how)
    assert (tmp_path / "output").read_bytes() == b"one\n"


def test_a_relative_name_is_meant_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with GrownFile(Path("file"), {}):
        pass
    assert names(tmp_path) == ["file"]


def test_a_file_that_was_completed_meanwhile_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another program may rename it after it was opened, and before it was locked."""
    first = GrownFile(tmp_path / "output", {})
    first.write(b"one\n", 1)

    def complete_and_lock(*_: object) -> None:
        first.__exit__(None, None, None)

    monkeypatch.setattr(fcntl, "flock", complete_and_lock)
    with pytest.raises(HeedError, match="another heed is writing it"):
        GrownFile(tmp_path / "output", {}, force=True)
    assert (tmp_path / "output").read_bytes() == b"one\n"
