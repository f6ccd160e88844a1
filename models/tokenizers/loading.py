"""The tokenizers of a bundle, of whichever form."""

import dataclasses
from pathlib import Path

from heed.models.errors import ModelError
from heed.models.spec.conventions import Conventions
from heed.models.spec.network import NetworkSpec
from heed.models.tokenizers.files import JOINT, model_files, vocabularies
from heed.models.tokenizers.library import LibraryLines, LibraryTexts
from heed.models.tokenizers.lossless import MASK, TextTokenizer
from heed.models.tokenizers.mapped import MappedTokenizer, read_vocabulary
from heed.models.tokenizers.plain import SentencePieceTexts
from heed.models.tokenizers.protocol import LineTokenizer, PlainTokenizer
from heed.models.tokenizers.reader import Pieces, Reader
from heed.models.tokenizers.subwords import load_tokenizers


def line_tokenizers(
    directory: Path,
    network: NetworkSpec,
    conventions: Conventions | None,
    languages: tuple[str, str],
    *,
    training: bool = False,
) -> tuple[LineTokenizer, LineTokenizer]:
    """The source's and the target's tokenizer.

    Args:
        directory: The bundle's directory.
        network: Which says how many tokens there are.
        conventions: Of an imported model.
        languages: Source and target, for a network that is told of them.
        training: Whether targets are encoded with the tokens that outputs are forced to begin with.

    Raises:
        ModelError: They are damaged, or the network does not know a language.
    """
    if conventions is None:
        return load_tokenizers(directory)
    source = conventions.between(*languages)
    target = dataclasses.replace(source, before=source.forced if training else (), prefix=None)
    if conventions.tokenizer == "library":
        n_tokens = _size(network, "encoder")
        return LibraryLines.load(directory, source, n_tokens), LibraryLines.load(directory, target, n_tokens)
    names, lists = model_files(directory), vocabularies(directory)
    return _mapped(directory, names[0], lists[0], source), _mapped(directory, names[-1], lists[-1], target)


def _mapped(directory: Path, name: str, vocabulary: str, conventions: Conventions) -> MappedTokenizer:
    path = directory / name
    return MappedTokenizer(path.read_bytes(), read_vocabulary(directory / vocabulary), conventions, str(path))


def text_tokenizer(directory: Path, network: NetworkSpec, conventions: Conventions | None) -> PlainTokenizer:
    """The tokenizer of a model that continues texts.

    Raises:
        ModelError: It is damaged.
    """
    if conventions is None:
        return TextTokenizer.load(directory)
    n_tokens = _size(network, "decoder")
    if conventions.tokenizer == "library":
        return LibraryTexts.load(directory, conventions, n_tokens)
    try:
        return SentencePieceTexts((directory / JOINT).read_bytes(), conventions, n_tokens, str(directory / JOINT))
    except OSError as error:
        raise ModelError(f"{directory / JOINT}: {error.strerror}; get the model again") from None


def reader(directory: Path, network: NetworkSpec, conventions: Conventions | None) -> Reader:
    """What reads texts for an encoder alone.

    Raises:
        ModelError: It is damaged.
    """
    if conventions is None:
        own = TextTokenizer.load(directory)
        return Reader(own, before=(own.bos_id,), ends=(own.eos_id,), mask_id=own.mask_id)
    if conventions.tokenizer == "library":
        library = LibraryTexts.load(directory, conventions, _size(network, "encoder"))
        pieces: Pieces = library
        mask = library.name_of(conventions.mask_id)
    else:
        pieces, mask = _mapped(directory, JOINT, vocabularies(directory)[0], conventions), MASK
    ends = (conventions.eos_id, *(conventions.after or ()))
    return Reader(pieces, before=conventions.before, ends=ends, mask_id=conventions.mask_id, mask=mask)


def _size(network: NetworkSpec, stack: str) -> int:
    return network.stacks[stack].vocab_size
