"""A model on disk: a directory whose manifest lists every file."""

import contextlib
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from heed.models.bundle import manifest as manifests
from heed.models.bundle.external_data import external_files
from heed.models.bundle.manifest import FileRecord, TextManifest, TranslationManifest
from heed.models.errors import ModelError
from heed.models.system.files import sha256
from heed.models.system.threads import ThreadPool

if TYPE_CHECKING:
    from heed.models.tokenizers.subwords import Tokenizer

GRAPHS = {"encoder-decoder": ("encoder.onnx", "decoder.onnx"), "decoder": ("stream.onnx", "decoder.onnx")}  # by kind
SHORTLIST = ("shortlist.onnx", "shortlist_decoder.onnx")  # a bundle has both of these, or neither
WEIGHTS = ".bin"  # the suffix of files of nothing but numbers, which ONNX Runtime maps and does not interpret


class Bundle:
    """A bundle that was checked: its files are those of the manifest, and its graphs read no others.

    Args:
        path: The directory.
        weights: Whether the hashes of the weights are checked, too; see `loading`.

    Raises:
        ModelError: It is no bundle, is damaged, or was made by a later heed.
    """

    def __init__(self, path: Path, *, weights: bool = True) -> None:
        self.path = path
        self.manifest = manifests.read(path)
        self._refuse_links()
        self._refuse(self._wrong_files() or self._wrong_references())
        self._refuse(self._wrong_hashes(weights=False) + (self._wrong_hashes(weights=True) if weights else []))

    @classmethod
    @contextlib.contextmanager
    def loading(cls, path: Path) -> Iterator["Bundle"]:
        """The bundle, for a block that loads it while the hashes of its weights are computed beside.

        Raises:
            ModelError: See the class; for weights that are damaged when the block ends, whatever else it raised.
        """
        bundle = cls(path, weights=False)
        with ThreadPool(1) as pool:
            wrong = pool.submit(bundle._wrong_hashes, weights=True)
            try:
                yield bundle
            finally:
                bundle._refuse(wrong.result())

    def _refuse(self, wrong: list[str]) -> None:
        if wrong:
            raise ModelError(f"{self.path}: damaged: {'; '.join(wrong)}; get or export the model again")

    def _refuse_links(self) -> None:
        """Refuse symbolic links: ONNX Runtime would follow them out of the directory that was checked."""
        links = [name for name in self.manifest.files if (self.path / name).is_symlink()]
        if links:
            path = shlex.quote(str(self.path))
            raise ModelError(
                f"{self.path}: {', '.join(links)}: symbolic links, as in a cache of downloads, and a model is plain "
                f"files; copy what they lead to: cp -rL {path} {path.rstrip('/')}-copy"
            )

    def translation(self) -> TranslationManifest:
        """The manifest of a model that translates.

        Raises:
            ModelError: It is of another kind.
        """
        if not isinstance(self.manifest, TranslationManifest):
            raise ModelError(f"{self.path}: this model does not translate, it goes on with text: use heed generate")
        return self.manifest

    def tokenizers(self) -> "tuple[Tokenizer, Tokenizer]":
        """Those of source and target, of a model that translates.

        Raises:
            ModelError: It is of another kind, or they are of another network.
        """
        from heed.models.tokenizers.subwords import load_tokenizers  # not above, so that help needs no SentencePiece

        (src, tgt), network = load_tokenizers(self.path), self.translation().network
        if (len(src), len(tgt)) != (network.src_vocab_size, network.tgt_vocab_size):
            raise ModelError(
                f"{self.path}: damaged: its tokenizer is of another network than its manifest; get it again"
            )
        return src, tgt

    def text(self) -> TextManifest:
        """The manifest of a model that goes on with text.

        Raises:
            ModelError: It is of another kind.
        """
        if not isinstance(self.manifest, TextManifest):
            raise ModelError(f"{self.path}: this model does not go on with text, it translates: use heed translate")
        return self.manifest

    def _wrong_files(self) -> list[str]:
        from heed.models.tokenizers.subwords import tokenizer_files  # not above, so that help needs no SentencePiece

        wrong: list[str] = []
        for name, record in self.manifest.files.items():
            file = self.path / name
            if Path(name).name != name or name in (".", "..") or "\\" in name:
                wrong.append(f"{name!r} is no plain file name")
            elif not file.is_file():
                wrong.append(f"{name} is missing or no plain file")
            elif file.stat().st_size != record.size:
                wrong.append(f"{name} has {file.stat().st_size} bytes and should have {record.size}")
        required = (
            *GRAPHS[self.manifest.kind],
            *tokenizer_files(self.path),
            *(SHORTLIST if self.has_shortlist else ()),
        )
        missing = [name for name in required if name not in self.manifest.files]
        return wrong + [f"{name} is not in the manifest" for name in missing]

    def _wrong_hashes(self, *, weights: bool) -> list[str]:
        return [
            f"{name} differs from what was exported (SHA-256)"
            for name, record in self.manifest.files.items()
            if (Path(name).suffix == WEIGHTS) == weights and sha256(self.path / name) != record.sha256
        ]

    @property
    def has_shortlist(self) -> bool:
        """Whether it can decode over the tokens alone that a batch's sources are likely to need."""
        return any(name in self.manifest.files for name in SHORTLIST)

    def _wrong_references(self) -> list[str]:
        """ONNX Runtime would open whatever file a graph names, so only listed ones may be."""
        wrong = []
        for graph in (name for name in self.manifest.files if name.endswith(".onnx")):
            try:
                names = external_files((self.path / graph).read_bytes())
            except ValueError as error:
                return [f"{graph} is no ONNX graph ({error})"]
            wrong += [f"{graph} reads {name!r}" for name in sorted(names) if name not in self.manifest.files]
        return wrong


def record_files(directory: Path) -> dict[str, FileRecord]:
    """What the manifest says of the files in a directory."""
    files = sorted(file for file in directory.iterdir() if file.name != manifests.FILE_NAME)
    return {file.name: FileRecord(size=file.stat().st_size, sha256=sha256(file)) for file in files}
