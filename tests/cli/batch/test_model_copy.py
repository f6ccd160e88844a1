"""A model that travels to a machine that lacks it."""

import dataclasses
import shutil
from pathlib import Path

import pytest

from heed.cli.batch.model_copy import ModelOrigin
from heed.models.bundle.bundle import Bundle


@pytest.fixture
def origin(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModelOrigin:
    """The model as another machine, with a cache of its own, is told of it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return ModelOrigin.of(bundle)


def test_the_model_is_found_where_it_was(bundle: Path, origin: ModelOrigin) -> None:
    assert origin.find() == bundle


def test_a_copy_is_whole_and_found_again(bundle: Path, origin: ModelOrigin, tmp_path: Path) -> None:
    elsewhere = dataclasses.replace(origin, path=tmp_path / "lacking")
    assert elsewhere.find() is None
    files = {path.name: path.read_bytes() for path in origin.files()}
    path = elsewhere.install(files)
    assert elsewhere.find() == path
    with Bundle.loading(path) as copy:
        assert copy.require("translate").files.keys() == files.keys() - {"heed.json"}
    assert elsewhere.install(files) == path  # another process was faster


def test_another_model_in_the_same_place_is_not_taken(bundle: Path, origin: ModelOrigin, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(bundle, other)
    (other / "heed.json").write_text("{}")
    assert dataclasses.replace(origin, path=other).find() is None
