"""Sequence-level distillation: a student learns a teacher's translations (Kim and Rush, 2016, arXiv 1606.07947)."""

import dataclasses
import json
from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from sacrebleu.metrics.chrf import CHRF

from heed.models.bundle import manifest
from heed.models.system.files import sha256, write_whole
from heed.models.system.resumable_output import GrownFile
from heed.models.tasks.translation.translator import BATCH_SIZE, WINDOW, Translator
from heed.transformer.data.batching.token_cache import key_of
from heed.transformer.data.preparation.corpus_scan import survey
from heed.transformer.data.reservoir import fingerprint
from heed.transformer.data.text.sources import Pair, Source

if TYPE_CHECKING:
    from heed.models.tasks.translation.translation import Translation

CHOICES = ("score", "chrf")  # what decides among the hypotheses of a beam


@dataclasses.dataclass(frozen=True, kw_only=True)
class Teacher:
    """Who translates the sources, and what becomes of its translations."""

    bundles: tuple[Path, ...]  # one, or the members of an ensemble
    choice: str = "score"  # the best of the beam by the teacher's "score", or by "chrf" against the reference
    mixed: bool = False  # whether the references are learnt as well
    threads: int | None = None  # of the CPU; None: all


@dataclasses.dataclass(frozen=True)
class TaughtText:
    """The text of the student."""

    data: tuple[str, ...]  # as `--data` names it
    validation: tuple[str, str] | None  # files of the held-out sources and their references; None: nothing is held out
    n_bad: int  # lines that were passed over


def teach(
    sources: Sequence[Source],
    teacher: Teacher,
    directory: Path,
    *,
    seed: int,
    hold_out: bool,
    told: Callable[[int], None] = lambda _: None,
) -> TaughtText:
    """Let a teacher translate training text; what it has translated before is not translated again.

    An interrupted translation continues where it stopped. A translation that loops is replaced by its reference.

    Args:
        sources: The training pairs.
        teacher: The teacher.
        directory: Of the translations, each named by the hash of what it depends on.
        seed: Decides which pairs are held out, as in a run of `heed train`.
        hold_out: Whether pairs are held out for validation; their references are kept, and nothing is learnt of them.
        told: Is told of numbers of translated sources.

    Raises:
        DataError: A file cannot be used.
        ModelError: A bundle cannot be used.
        OSError: A file cannot be read or written.
    """
    directory.mkdir(parents=True, exist_ok=True)
    held, validation = frozenset[int](), None
    seen = survey(sources, seed, hold_out=hold_out)
    if hold_out:
        chosen = seen.validation
        held = frozenset(fingerprint(src, seed) for src in chosen.src)
        validation = _write_sides(directory / key_of(held=sorted(held)), chosen.src, chosen.tgt)
    data = []
    for source in sources:
        kept = _Kept(source, held, seed)
        translated = directory / f"{_key(source, teacher, held)}.jsonl"
        if not translated.exists():
            with Translator.load(teacher.bundles, threads=teacher.threads) as translator:
                _translate(translator, kept, translated, teacher.choice, told)
        data.append(f"{translated}:{source.weight}")
        if teacher.mixed:
            references = translated.with_suffix(".references.jsonl")
            write_whole(references, b"".join(_record(*pair) for pair in kept))
            data.append(f"{references}:{source.weight}")
    return TaughtText(tuple(data), validation, seen.n_bad)


@dataclasses.dataclass(frozen=True)
class _Kept:
    """The pairs of a source that are not held out and have text."""

    source: Source
    held: Collection[int]
    seed: int

    def __iter__(self) -> Iterator[Pair]:
        return ((src, tgt) for src, tgt in self.source if src.strip() and fingerprint(src, self.seed) not in self.held)


def _key(source: Source, teacher: Teacher, held: Collection[int]) -> str:
    """The hash of everything that the translations depend on."""
    return key_of(
        text=[*(sha256(Path(path)) for path in source.paths), *source.reading],
        teacher=[sha256(path / manifest.FILE_NAME) for path in teacher.bundles],  # which has the hashes of all files
        choice=teacher.choice,
        held=sorted(held),
    )


def _translate(translator: Translator, pairs: _Kept, output: Path, choice: str, told: Callable[[int], None]) -> None:
    """Write a record for each pair: the source, and its translation as target."""
    with GrownFile(output, {"translations": output.name}, resume=True) as file:
        n_done, n = int(file.progress or 0), translator.config.beam_size if choice == "chrf" else 1
        remaining = islice(pairs, n_done, None)
        while window := list(islice(remaining, BATCH_SIZE * WINDOW)):
            found = translator.n_best([src for src, _ in window], n=n)
            taught = [(src, choose(best, tgt, choice)) for (src, tgt), best in zip(window, found, strict=True)]
            n_done += len(window)
            file.write(b"".join(_record(*pair) for pair in taught), n_done)
            told(len(window))


def choose(best: "Sequence[Translation]", reference: str, choice: str) -> str:
    """The hypothesis that is learnt; the reference where all of them loop."""
    sound = [each.text for each in best if not each.looped] or [reference]
    if choice == "score":
        return sound[0]
    return max(sound, key=lambda text: CHRF().sentence_score(text, [reference]).score)


def _record(src: str, tgt: str) -> bytes:
    return json.dumps({"src": src, "tgt": tgt}, ensure_ascii=False).encode() + b"\n"


def _write_sides(stem: Path, src: Sequence[str], tgt: Sequence[str]) -> tuple[str, str]:
    """Write sentences and their translations, a line each."""
    paths = []
    for name, side in (("source", src), ("reference", tgt)):
        path = stem.with_suffix(f".{name}")
        write_whole(path, "".join(" ".join(line.split("\n")) + "\n" for line in side).encode())
        paths.append(str(path))
    return paths[0], paths[1]
