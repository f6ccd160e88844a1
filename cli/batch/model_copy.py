"""A model that travels to machines that lack it."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from heed.models.bundle import manifest
from heed.models.errors import HeedError
from heed.models.system.files import directory_whole, sha256


@dataclasses.dataclass(frozen=True)
class ModelOrigin:
    """The model of a job, where the job was started."""

    path: Path
    digest: str  # of its manifest, which has the hashes of all files

    @classmethod
    def of(cls, path: Path) -> "ModelOrigin":
        """The model in a directory."""
        return cls(path.absolute(), sha256(path / manifest.FILE_NAME))

    def find(self) -> Path | None:
        """The same model on this machine: in the same directory, or copied by an earlier job; None: it is lacking."""
        for path in (self.path, self._copy):
            if (path / manifest.FILE_NAME).is_file() and sha256(path / manifest.FILE_NAME) == self.digest:
                return path
        return None

    def files(self) -> list[Path]:
        """The files that make the model."""
        return [self.path / name for name in (manifest.FILE_NAME, *manifest.read(self.path).files)]

    def install(self, files: Mapping[str, bytes]) -> Path:
        """Keep the files on this machine; several processes may do it at once.

        Raises:
            HeedError: They cannot be written.
        """
        self._copy.parent.mkdir(parents=True, exist_ok=True)
        try:
            with directory_whole(self._copy) as directory:
                for name, data in files.items():
                    (directory / name).write_bytes(data)
        except (HeedError, OSError) as error:
            if self.find() is None:  # otherwise another process was faster
                raise HeedError(f"{self._copy}: the model cannot be kept there: {error}") from None
        return self._copy

    @property
    def _copy(self) -> Path:
        import platformdirs  # imported here, because few jobs copy a model

        return platformdirs.user_cache_path("heed") / "models" / self.digest[:32]
