"""A model on disk: a directory whose manifest lists every file."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from heed.models.bundle import manifest as manifests
from heed.models.bundle.external_data import external_files
from heed.models.bundle.manifest import FileRecord, Manifest
from heed.models.errors import ModelError
from heed.models.system.files import sha256, sha256_mapped
from heed.models.system.threads import Task
from heed.models.tokenizers.files import file_names

if TYPE_CHECKING:
    from heed.models.runtime.encoder import OnnxEncoder
    from heed.models.runtime.network import OnnxNetwork
    from heed.models.tokenizers.protocol import LineTokenizer, PlainTokenizer
    from heed.models.tokenizers.reader import Reader

INTEGER_CACHE = b"keys.0.scale"  # operator of graphs with an integer KV cache
SHORTLIST = ("shortlist.onnx", "shortlist_decoder.onnx")  # a bundle has both of these files or neither
WEIGHTS = ".bin"  # suffix of files with numbers only, which ONNX Runtime maps and does not interpret


class Bundle:
    """A verified bundle: its files are those of the manifest, and its graphs read no others.

    Args:
        path: The directory.
        weights: Whether to check the hashes of the weights as well; see `loading`.

    Raises:
        ModelError: Not a bundle, damaged, or made by a later heed.
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
        """Check a bundle; the block loads it while the hashes of its weights are computed in parallel.

        Raises:
            ModelError: See the class; damaged weights are reported when the block ends, whatever else it raised.
        """
        bundle = cls(path, weights=False)
        wrong = Task(partial(bundle._wrong_hashes, weights=True))
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
            import shlex  # imported here, because few have any

            path = shlex.quote(str(self.path))
            raise ModelError(
                f"{self.path}: {', '.join(links)}: symbolic links, as in a cache of downloads, and a model is plain "
                f"files; copy what they lead to: cp -rL {path} {path.rstrip('/')}-copy"
            )

    def require(self, task: str, *others: str) -> Manifest:
        """The manifest of a model for a task, or for other tasks whose models do that, too.

        Raises:
            ModelError: The model is for another task.
        """
        if self.manifest.task not in (task, *others):
            other = self.manifest.task
            raise ModelError(f"{self.path}: this model is for heed {other}, not for heed {task}")
        return self.manifest

    def tokenizers(self, languages: tuple[str, str] | None = None) -> "tuple[LineTokenizer, LineTokenizer]":
        """The source and target tokenizers of a translation model.

        Args:
            languages: Of source and target, for a network that is told of them; None: those that the manifest names.

        Raises:
            ModelError: They are of another network, or it does not know one of the languages.
        """
        from heed.models.tokenizers.loading import line_tokenizers  # imported here, so that help needs no SentencePiece

        manifest = self.manifest
        languages = languages or (manifest.src_language, manifest.tgt_language)
        src, tgt = line_tokenizers(self.path, manifest.network, manifest.conventions, languages)
        stacks = self.manifest.network.stacks
        sizes = [stacks.get(name) for name in ("encoder", "decoder")]
        wrong = [
            stack
            for stack, tokenizer in zip(sizes, (src, tgt), strict=True)
            if stack and stack.vocab_size != len(tokenizer)
        ]
        if wrong:
            raise ModelError(f"{self.path}: damaged: its tokenizer does not fit its manifest; get it again")
        return src, tgt

    def text_tokenizer(self) -> "PlainTokenizer":
        """That of a model that continues texts.

        Raises:
            ModelError: It is damaged, or of another network.
        """
        from heed.models.tokenizers.loading import text_tokenizer  # imported here, so that help needs no SentencePiece

        manifest = self.manifest
        found, decoder = text_tokenizer(self.path, manifest.network, manifest.conventions), manifest.network.decoder
        if decoder and decoder.vocab_size != len(found):
            raise ModelError(f"{self.path}: damaged: its tokenizer does not fit its manifest; get it again")
        return found

    def reader(self) -> "Reader":
        """What reads texts for an encoder alone.

        Raises:
            ModelError: It is damaged, or of another network.
        """
        from heed.models.tokenizers.loading import reader  # imported here, so that help needs no SentencePiece

        manifest = self.manifest
        found = reader(self.path, manifest.network, manifest.conventions)
        if manifest.network.last.vocab_size != len(found):
            raise ModelError(f"{self.path}: damaged: its tokenizer does not fit its manifest; get it again")
        return found

    def encoder(self, *, device: str, threads: int) -> "OnnxEncoder":
        """Load the graphs of an encoder alone; see `heed.models.runtime.encoder.OnnxEncoder`."""
        from heed.models.runtime.encoder import OnnxEncoder  # imported here, so that help needs no ONNX Runtime

        return OnnxEncoder(self.path, self.manifest.network, self.manifest.files, device=device, threads=threads)

    def network(
        self,
        *,
        device: str,
        threads: int,
        shortlist: bool = False,
        meanwhile: Callable[[], object] | None = None,
    ) -> "OnnxNetwork":
        """Load the graphs; see `heed.models.runtime.network.OnnxNetwork`."""
        from heed.models.runtime.network import OnnxNetwork  # imported here, so that help needs no ONNX Runtime

        return OnnxNetwork(
            self.path,
            self.manifest.network,
            self.manifest.files,
            device=device,
            threads=threads,
            shortlist=shortlist,
            meanwhile=meanwhile,
        )

    def _flaw(self, name: str, record: FileRecord) -> str | None:
        """What is wrong with a file, but for its content."""
        file = self.path / name
        if Path(name).name != name or name in (".", "..") or "\\" in name:
            return f"{name!r} is not a plain file name"
        if not file.is_file():
            return f"{name} is missing or not a plain file"
        if file.stat().st_size != record.size:
            return f"{name} has {file.stat().st_size} bytes and should have {record.size}"
        return None

    def _wrong_files(self) -> list[str]:
        wrong = [flaw for name, record in self.manifest.files.items() if (flaw := self._flaw(name, record))]
        required = (
            *self._graphs(),
            *file_names(self.path, self.manifest.conventions),
            *(SHORTLIST if self.has_shortlist else ()),
        )
        missing = [name for name in required if name not in self.manifest.files]
        return wrong + [f"{name} is not in the manifest" for name in missing]

    def _graphs(self) -> list[str]:
        """The required graphs, including `rounding.onnx` if the stream has an integer KV cache."""
        stream = self.path / "stream.onnx"
        listed = stream.name in self.manifest.files and stream.is_file() and not stream.is_symlink()
        rounds = listed and INTEGER_CACHE in stream.read_bytes()
        return [
            *(["encoder.onnx"] if self.manifest.network.encoder else []),
            *(["decoder.onnx"] if self.manifest.network.decoder else []),
            *(["rounding.onnx"] if rounds else []),
        ]

    def _wrong_hashes(self, *, weights: bool) -> list[str]:
        # ONNX Runtime maps weights, too; their sizes have been checked.
        digest = sha256_mapped if weights else sha256
        return [
            f"{name} differs from what was exported (SHA-256)"
            for name, record in self.manifest.files.items()
            if (Path(name).suffix == WEIGHTS) == weights and digest(self.path / name) != record.sha256
        ]

    @property
    def vocabulary(self) -> tuple[object, ...]:
        """What decides the tokens: the hashes of the tokenizers' files, and the conventions of an imported model."""
        files, conventions = self.manifest.files, self.manifest.conventions
        return conventions, [files[name].sha256 for name in file_names(self.path, conventions)]

    @property
    def has_shortlist(self) -> bool:
        """Whether the bundle has a shortlist: the tokens that the sources of a batch are likely to need."""
        return any(name in self.manifest.files for name in SHORTLIST)

    def _wrong_references(self) -> list[str]:
        """Files that graphs reference but the manifest does not list; ONNX Runtime would open them."""
        wrong = []
        for graph in (name for name in self.manifest.files if name.endswith(".onnx")):
            try:
                names = external_files((self.path / graph).read_bytes())
            except ValueError as error:
                return [f"{graph} is not an ONNX graph ({error})"]
            wrong += [f"{graph} reads {name!r}" for name in sorted(names) if name not in self.manifest.files]
        return wrong


def require_one_vocabulary(bundle: Bundle, others: Sequence[Bundle]) -> None:
    """Refuse an ensemble whose members read or write other tokens.

    Raises:
        ModelError: The tokenizers of a bundle differ from those of the first.
    """
    for other in others:
        other.require(bundle.manifest.task)
        if other.vocabulary != bundle.vocabulary:
            raise ModelError(
                f"{other.path}: its vocabulary is not that of {bundle.path}, and an ensemble has one vocabulary; train "
                "with --tokenizer or --init-from to keep one"
            )


def record_files(directory: Path) -> dict[str, FileRecord]:
    """The manifest's records of the files in a directory."""
    files = sorted(file for file in directory.iterdir() if file.name != manifests.FILE_NAME)
    return {file.name: FileRecord(size=file.stat().st_size, sha256=sha256(file)) for file in files}
