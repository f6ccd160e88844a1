"""Models of the Hugging Face hub: the files that an import needs, of one revision, checked against the hub's hashes."""

import contextlib
import dataclasses
import hashlib
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import huggingface_hub
from huggingface_hub import errors
from huggingface_hub.file_download import http_get
from huggingface_hub.utils._headers import build_hf_headers

from heed.export.importers.formats.checkpoint import CONFIG, GENERATION, READERS
from heed.models.errors import HeedError, ModelError

# Names of files that importers read, beside weights; see `heed.export.importers.tokenizers.vocabulary`.
SMALL = re.compile(
    rf"{CONFIG}|{GENERATION}|tokenizer_config\.json|tokenizer\.(json|model)|(target_)?vocab\.json|merges\.txt"
    r"|(source|target)\.spm|spiece\.model|sentencepiece\.bpe\.model|chat_template\.jinja|special_tokens_map\.json"
)
PART = ".part"  # of a file that has not arrived whole
CHUNK = 1 << 20
# Of whichever library the hub's uses.
UNREACHED: type[Exception] = errors.HTTPError  # type: ignore[attr-defined]


@dataclasses.dataclass(frozen=True)
class HubFile:
    """A file on the hub."""

    name: str
    size: int  # bytes
    sha256: str | None  # of a large file
    git_sha1: str | None  # of a small one, as git names its content

    def matches(self, path: Path) -> bool:
        """Whether a file on disk is this one."""
        header = f"blob {self.size}\0".encode()  # what git puts before a file's content
        digest = hashlib.sha256() if self.sha256 else hashlib.sha1(header, usedforsecurity=False)
        with path.open("rb") as file:
            while chunk := file.read(CHUNK):
                digest.update(chunk)
        return path.stat().st_size == self.size and digest.hexdigest() == (self.sha256 or self.git_sha1)


@dataclasses.dataclass(frozen=True)
class HubModel:
    """A model on the hub at one revision."""

    name: str  # ORG/NAME
    commit: str
    licence: str
    files: tuple[HubFile, ...]  # those that an import needs
    endpoint: str | None
    token: str | None

    @property
    def size(self) -> int:
        """Bytes of its files."""
        return sum(file.size for file in self.files)

    def download(self, directory: Path, tell: Callable[[HubFile], None]) -> Path:
        """Fetch the files that are not there yet; what has arrived of a file is kept and continued.

        Args:
            directory: Where they go.
            tell: Called before each file that is fetched.

        Returns:
            What `heed.export.importers.importer` imports: the directory, or its .gguf file.

        Raises:
            HeedError: The hub cannot be reached, or refuses.
            ModelError: A file is not what the hub says.
        """
        directory.mkdir(parents=True, exist_ok=True)
        for file in self.files:
            path = directory / file.name
            if path.is_file() and file.matches(path):
                continue
            tell(file)
            self._fetch(file, path)
        (first, *_) = self.files
        return directory / first.name if first.name.endswith(".gguf") else directory

    def _fetch(self, file: HubFile, path: Path) -> None:
        part = path.with_name(path.name + PART)
        url = huggingface_hub.hf_hub_url(self.name, file.name, revision=self.commit, endpoint=self.endpoint)
        headers = build_hf_headers(token=self.token, library_name="heed")
        with _reached(self.name), part.open("ab") as arrived:
            n_arrived = arrived.tell()
            if n_arrived > file.size:
                arrived.truncate(n_arrived := 0)
            http_get(
                url,
                arrived,
                resume_size=n_arrived,
                headers=headers,
                expected_size=file.size,
                displayed_filename=file.name,
            )
        if not file.matches(part):
            part.unlink()
            raise ModelError(f"{self.name}: {file.name} arrived with another hash than the hub says; pull it again")
        part.replace(path)


def find(name: str, revision: str | None = None, gguf: str | None = None) -> HubModel:
    """A model and the files that its import needs.

    The environment variables HF_ENDPOINT and HF_TOKEN say where the hub is, and who asks.

    Args:
        name: ORG/NAME.
        revision: A branch, a tag or a commit; None: the main branch. What it means now is what is fetched.
        gguf: The .gguf file to take, where there are several.

    Raises:
        HeedError: The hub cannot be reached, or refuses.
        ModelError: The model has no files that heed can import.
    """
    endpoint, token = os.environ.get("HF_ENDPOINT") or None, os.environ.get("HF_TOKEN") or None
    api = huggingface_hub.HfApi(endpoint=endpoint, token=token, library_name="heed")
    with _reached(name):
        info = api.model_info(name, revision=revision, files_metadata=True)
    files = {}
    for each in info.siblings or ():
        sha256 = each.lfs.sha256 if each.lfs else None
        files[each.rfilename] = HubFile(each.rfilename, each.size or 0, sha256, each.blob_id)
    needed = _needed(name, files, gguf)
    licence = str(info.card_data.get("license") or "") if info.card_data else ""
    return HubModel(name, str(info.sha), licence, tuple(files[each] for each in needed), endpoint, token)


def _needed(name: str, files: dict[str, HubFile], gguf: str | None) -> list[str]:
    """The names of the files that an import needs: a .gguf file, or a directory's."""
    if gguf is not None:
        if gguf not in files:
            raise ModelError(f"{name}: has no file {gguf}; its .gguf files are: {_listed(files)}")
        return [gguf]
    small = [each for each in files if SMALL.fullmatch(each)]
    for weights in READERS:
        if weights in files:
            return [*small, weights]
        if f"{weights}.index.json" in files:
            stem, suffix = weights.rsplit(".", 1)
            shards = [each for each in files if re.fullmatch(rf"{re.escape(stem)}-\d+-of-\d+\.{suffix}", each)]
            return [*small, f"{weights}.index.json", *shards]
    return [_only_gguf(name, files)]


def _only_gguf(name: str, files: dict[str, HubFile]) -> str:
    """The name of the only .gguf file.

    Raises:
        ModelError: There are none or several.
    """
    found = [each for each in files if each.endswith(".gguf") and "/" not in each]
    if not found:
        raise ModelError(f"{name}: has no weights that heed imports ({', '.join(READERS)}, .gguf)")
    if len(found) > 1:
        raise ModelError(f"{name}: has several .gguf files; name one with --gguf: {_listed(files)}")
    return found[0]


def _listed(files: dict[str, HubFile]) -> str:
    return ", ".join(sorted(each for each in files if each.endswith(".gguf"))) or "none"


@contextlib.contextmanager
def _reached(name: str) -> Iterator[None]:
    """Say in a line why the hub did not answer.

    Raises:
        HeedError: It did not.
    """
    try:
        yield
    except errors.HFValidationError:
        raise ModelError(f"{name}: no name of a model on the hub; those are ORG/NAME") from None
    except errors.RevisionNotFoundError:
        raise ModelError(f"{name}: the hub has no such revision; look at the model's page") from None
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        reason = {
            401: "no such model, or a private one; check the name, or set HF_TOKEN to a token that may read it",
            403: "access is refused; accept the model's terms on its page, and set HF_TOKEN to your token",
            404: "no such model, or no such file in it; check the name",
        }.get(status, "try again later, and what has arrived is kept")
        raise HeedError(f"{name}: the hub answers {status}: {reason}") from None
    except (UNREACHED, errors.OfflineModeIsEnabled, ConnectionError) as error:
        words = str(error) or type(error).__name__
        raise HeedError(f"{name}: the hub cannot be reached ({words}); try again, what has arrived is kept") from None
    except OSError as error:
        if error.errno is not None:
            raise  # of a file here
        raise HeedError(f"{name}: the download failed ({error}); try again, and what has arrived is kept") from None
