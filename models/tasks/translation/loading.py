"""Translators from bundles: ONNX Runtime opens the graphs while Python imports what will use them."""

import contextlib
import functools
import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from heed.models.bundle.bundle import Bundle, require_one_vocabulary
from heed.models.system.processor import available_cores

if TYPE_CHECKING:
    from heed.models.runtime.protocol import Network
    from heed.models.runtime.states import States
    from heed.models.tasks.translation.aligner import Aligner
    from heed.models.tasks.translation.translator import Translator
    from heed.models.text.glossary import Glossary
    from heed.models.tokenizers.protocol import LineTokenizer


def load(
    path: Path | Sequence[Path],
    *,
    device: str = "cpu",
    threads: int | None = None,
    shortlist: bool = True,
    split: bool = True,
    glossary: Path | None = None,
    aligns: bool = False,
    languages: tuple[str, str] | None = None,
    repair: bool = True,
    meanwhile: Callable[[], object] | None = None,
) -> "Translator":
    """Load a bundle, or several as an ensemble, whose log-probabilities are averaged.

    Args:
        path: Its directory, or those of an ensemble. The first one's search settings count. An ensemble has no
            shortlist.
        device: "cpu" or "cuda".
        threads: CPU threads; None: as many as the cores that this process may use.
        shortlist: Decode each line over its likely tokens, if the bundle has a shortlist. Log-probabilities are
            then relative to these tokens, and not comparable between lines.
        split: See `Translator`.
        glossary: A file of required terms; see `Glossary.read`.
        aligns: Whether words will be aligned: for mark-up, or for the caller.
        languages: Of source and target, for a network that is told of them; None: those that the bundle names.
        repair: Search again where a translation lost a number, an address, a code word or a name; see `Repair`.
        meanwhile: What else to do while ONNX Runtime opens the graphs.

    Raises:
        DataError: The glossary cannot be used.
        ModelError: A bundle is damaged or of a later format, the vocabularies differ, or the device is unusable.
    """
    with contextlib.ExitStack() as stack:
        paths = path if isinstance(path, Sequence) else [path]
        bundle, *others = (stack.enter_context(Bundle.loading(each)) for each in paths)
        manifest = bundle.require("translate")
        require_one_vocabulary(bundle, others)
        shortlist = shortlist and not others and bundle.has_shortlist
        tokenizers = functools.cache(functools.partial(bundle.tokenizers, languages))

        def prepare() -> None:
            """Do what can be done while ONNX Runtime opens a graph."""
            tokenizers()
            for name in ("repair", "translator"):
                importlib.import_module(f"heed.models.tasks.translation.{name}")
            if meanwhile:
                meanwhile()

        network: Network = bundle.network(device=device, threads=1, shortlist=shortlist, meanwhile=prepare)
        if others:
            network = _ensemble(network, others, device)

    from heed.models.tasks.translation.repair import Repair
    from heed.models.tasks.translation.translator import Translator

    src, tgt = tokenizers()
    whole = functools.partial(bundle.network, device=device, threads=1) if shortlist else None
    return Translator(
        network,
        src,
        tgt,
        manifest.decode,
        workers=_workers(device, threads),
        split=split,
        language=manifest.src_language,
        glossary=_glossary(glossary, tgt) if glossary else None,
        whole=whole,
        repair=Repair(src, tgt, (manifest.src_language, manifest.tgt_language), searches=repair),
        aligner=_aligner(bundle, (src, tgt), device) if glossary or aligns or not shortlist else None,
    )


def _ensemble(network: "Network", others: Sequence[Bundle], device: str) -> "Network":
    from heed.models.runtime.ensemble import EnsembleNetwork  # imported here: few need it

    return EnsembleNetwork([network, *(each.network(device=device, threads=1) for each in others)])


def _workers(device: str, threads: int | None) -> int:
    """Number of batches decoded in parallel: on a CPU, that is faster than threads that share one batch's operators."""
    return threads or available_cores() if device == "cpu" else 1


# What few need is imported where it is made: it would be a fiftieth of a start.


def _glossary(path: Path, tokenizer: "LineTokenizer") -> "Glossary":
    from heed.models.text.glossary import Glossary

    return Glossary.read(path, tokenizer)


def _aligner(
    bundle: Bundle, tokenizers: "tuple[LineTokenizer, LineTokenizer]", device: str
) -> "Callable[[States], Aligner]":
    from heed.models.tasks.translation.aligner import Aligner

    return functools.partial(Aligner.of, bundle, tokenizers, device)
