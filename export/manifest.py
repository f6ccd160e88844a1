"""The manifest and the model card of a new bundle."""

import dataclasses
import importlib.metadata
from pathlib import Path
from typing import Any

from heed.export.card import write_card
from heed.export.model_details import ModelDetails
from heed.models.bundle import manifest as manifests
from heed.models.bundle.bundle import record_files
from heed.models.bundle.manifest import Manifest


def write_manifest(directory: Path, details: ModelDetails, **facts: Any) -> Manifest:
    """Write the model card and the manifest of a bundle, when all its other files are in its directory.

    Args:
        directory: The bundle's directory.
        details: Name and credits.
        facts: The other fields of the manifest, but for those that follow from the files and from this heed.
    """
    manifest = Manifest(
        format=manifests.FORMAT,
        heed=importlib.metadata.version("heed"),
        name=details.name,
        licence=details.licence,
        trained_on=details.trained_on,
        files={},
        **facts,
    )
    (directory / "README.md").write_text(write_card(manifest), "utf-8")
    manifest = dataclasses.replace(manifest, files=record_files(directory))
    manifests.write(directory, manifest)
    return manifest
