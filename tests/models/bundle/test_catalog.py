"""Models by name, where the user's directory may not be read."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import platformdirs  # noqa: F401 - a user without rights could not load it below
import pytest

from heed.models.bundle import catalog
from heed.models.errors import ModelError

NOBODY = 65534


@contextmanager
def without_rights() -> Iterator[None]:
    """As a user who may read what everybody may."""
    if os.geteuid():
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def directory(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The user's models, with one in it; beside it what heed brings, for the checkout may be closed to other users."""
    with tempfile.TemporaryDirectory() as root:
        Path(root).chmod(0o755)
        for model in catalog.brought():
            shutil.copytree(model, Path(root, model.name))
        monkeypatch.setattr(catalog, "GERMAN", Path(root, catalog.GERMAN.name))
        defaults = {task: Path(root, model.name) for task, model in catalog.DEFAULTS.items()}
        monkeypatch.setattr(catalog, "DEFAULTS", defaults)
        path = Path(root, "models")
        shutil.copytree(catalog.DEFAULT, path / "mine")
        monkeypatch.setenv("HEED_MODELS", str(path))
        yield path
        if path.exists():
            path.chmod(0o700)


def test_a_directory_of_another_user_has_no_models(directory: Path) -> None:
    """As with HOME=/root after sudo: what heed brings works all the same."""
    directory.chmod(0)
    with without_rights():
        assert list(catalog.available()) == ["en-de", "shakespeare", "de-en"]
        assert catalog.find("en-de") == catalog.DEFAULTS["translate"]
        assert (catalog.unreadable() or "").endswith(": Permission denied")
        with pytest.raises(ModelError, match=r"models directory is not known: .*Permission denied"):
            catalog.find("mine")  # which may be there
    assert str(directory) in (catalog.unreadable() or str(directory))


def test_models_that_may_be_read_have_names(directory: Path) -> None:
    assert list(catalog.available()) == ["en-de", "shakespeare", "de-en", "mine"]
    assert catalog.find("mine") == directory / "mine"
    assert catalog.unreadable() is None
    shutil.rmtree(directory)
    assert list(catalog.available()) == ["en-de", "shakespeare", "de-en"]
    assert catalog.unreadable() is None


def add(directory: Path, name: str, **facts: str) -> Path:
    """A directory that has only a manifest, which is as the default model's but for some facts."""
    path = directory / name
    path.mkdir()
    like = json.loads((catalog.DEFAULT / catalog.MANIFEST).read_text())
    (path / catalog.MANIFEST).write_text(json.dumps(like | facts))
    return path


def translating(source: str, target: str) -> dict[str, str]:
    return {"task": "translate", "src_language": source, "tgt_language": target}


@pytest.mark.parametrize(
    ("source", "target", "name"),
    [
        ("en", "de", "default"),  # what heed brings comes first
        ("EN", "de-AT", "default"),
        ("eng", "deu", "default"),
        ("en", "", "default"),
        ("de", "en", "default_de_en"),
        ("", "en", "default_de_en"),
        ("pt", "fr", "pt-fr"),
        ("por", "fra", "pt-fr"),
        ("", "fr", "pt-fr"),
        ("pt", "ja", "nllb"),
        ("pt", "jpn_Jpan", "nllb"),
    ],
)
def test_a_model_is_found_by_its_languages(directory: Path, source: str, target: str, name: str) -> None:
    (add(directory, "damaged") / catalog.MANIFEST).write_text("{")
    add(directory, "text", task="generate")
    add(directory, "pt-fr", **translating("pt", "fr"))
    add(directory, "nllb", **translating("por_Latn", "jpn_Jpan"))
    assert catalog.find_by_languages(source, target).name == name


def test_what_no_model_translates_is_told_with_what_they_do(directory: Path) -> None:
    add(directory, "opus", **translating("fr", "es"))
    with pytest.raises(ModelError, match=r"no model here translates en to ja; there are: en-de, de-en, mine, opus;"):
        catalog.find_by_languages("en", "ja")


def test_the_languages_of_an_old_bundle_are_known() -> None:
    assert catalog.languages_of(Path(__file__).parents[2] / "data/format2") == ("en", "de")
