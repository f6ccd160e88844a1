"""Models by name, where the user's directory may not be read."""

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
        for task, model in catalog.DEFAULTS.items():
            shutil.copytree(model, Path(root, task))
        monkeypatch.setattr(catalog, "DEFAULTS", {task: Path(root, task) for task in catalog.DEFAULTS})
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
        assert list(catalog.available()) == ["en-de", "shakespeare"]
        assert catalog.find("en-de") == catalog.DEFAULTS["translate"]
        assert (catalog.unreadable() or "").endswith(": Permission denied")
        with pytest.raises(ModelError, match=r"models directory is not known: .*Permission denied"):
            catalog.find("mine")  # which may be there
    assert str(directory) in (catalog.unreadable() or str(directory))


def test_models_that_may_be_read_have_names(directory: Path) -> None:
    assert list(catalog.available()) == ["en-de", "shakespeare", "mine"]
    assert catalog.find("mine") == directory / "mine"
    assert catalog.unreadable() is None
    shutil.rmtree(directory)
    assert list(catalog.available()) == ["en-de", "shakespeare"]
    assert catalog.unreadable() is None
