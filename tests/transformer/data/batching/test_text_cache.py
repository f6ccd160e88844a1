"""Text that trains a language model, as tokens on disk."""

import itertools
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from heed.models.errors import DataError
from heed.models.spec.options import changed
from heed.models.spec.preset import complete, preset
from heed.models.tokenizers.lossless import TextTokenizer
from heed.transformer.data.batching.token_cache import TextRecord
from heed.transformer.data.batching.tokens import open_corpora
from heed.transformer.data.preparation import text_run
from heed.transformer.data.preparation.text_run import load_text, new_text_run
from heed.transformer.data.text import documents
from heed.transformer.training.runs.run import TextRun
from heed.transformer.training.runs.settings import TextConfig

NETWORK = changed(
    complete(preset("gpt2")["network"]),
    {"n_layers": 1, "d_model": 16, "d_ff": 24, "n_heads": 2, "n_kv_heads": 1, "context": 16},
)
Make = Callable[..., TextRun]


@pytest.fixture
def files(write_lines: Callable[[str, list[str]], str], digit_lines: Callable[[int, int], list[str]]) -> list[str]:
    """A text of many lines, and forty short ones."""
    records = [json.dumps({"text": line}) for line in digit_lines(40, 2)]
    return [write_lines("long.txt", digit_lines(300, 1)), write_lines("short.jsonl", records)]


@pytest.fixture
def make(verbatim: TextTokenizer, tmp_path: Path) -> Make:
    (tmp_path / "verbatim.model").write_bytes(verbatim.pieces.model)

    def run(texts: list[str], name: str = "run", cache: Path | None = None, **wishes: object) -> TextRun:
        asked: dict[str, object] = {"text": tuple(texts), "tokenizer": (str(tmp_path / "verbatim.model"),), "steps": 1}
        return new_text_run(tmp_path / name, NETWORK, TextConfig(**asked | wishes), cache=cache)[0]  # type: ignore[arg-type]

    return run


def entry_of(run: TextRun) -> Path:
    record = TextRecord.load(run.path)
    assert record
    return record.entry(run.path)


def stored(run: TextRun) -> list[list[int]]:
    """The documents, each as all of its tokens."""
    pairs, found = open_corpora(entry_of(run)).sample(), [list[int]()]
    for number in range(len(pairs)):
        found[-1] += [*pairs.src[number].tolist(), *pairs.tgt[number].tolist()]
        if found[-1][-1] == run.tokenizer.eos_id:
            found.append([])
    assert found.pop() == []
    return found


@pytest.mark.parametrize("part", [50, 1 << 16], ids=["in parts", "whole"])
def test_the_tokens_of_a_text_are_those_of_its_parts(
    make: Make, files: list[str], part: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(documents, "PART", part)
    run = make(files[:1])
    (held,), whole = run.validation, Path(files[0]).read_text("utf-8")
    assert whole.endswith(held.text)
    assert stored(run) == [[*run.tokenizer.encode(whole.removesuffix(held.text)), run.tokenizer.eos_id]]
    n_pairs = len(open_corpora(entry_of(run)))
    assert n_pairs == 1 if part > 50 else n_pairs > 20


def test_of_many_documents_those_drawn_are_left_out(make: Make, files: list[str]) -> None:
    run = make(files[1:])
    texts = [json.loads(line)["text"] for line in Path(files[1]).read_text("utf-8").splitlines()]
    held = {document.text for document in run.validation}
    assert len(held) == 2
    ids = [[*run.tokenizer.encode(text), run.tokenizer.eos_id] for text in texts if text not in held]
    assert stored(run) == ids
    packing = load_text(run)
    assert (packing.facts["documents"], packing.facts["tokens"]) == (len(ids), len(list(itertools.chain(*ids))))


@pytest.mark.parametrize("which", [0, 1], ids=["an end held out", "documents held out"])
def test_tokens_that_are_gone_are_made_again(make: Make, files: list[str], which: int) -> None:
    """Also in a run from before there were records."""
    run = make(files[which : which + 1])
    before = stored(run)
    shutil.rmtree(run.path / "cache")
    load_text(run)
    assert stored(run) == before
    shutil.rmtree(run.path / "cache")
    (run.path / "text.json").unlink()
    load_text(run)
    assert stored(run) == before


def test_a_second_run_on_a_text_finds_its_tokens(
    make: Make, files: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = make(files, "first", tmp_path / "cache")

    def never(*arguments: object) -> None:
        raise AssertionError

    for name in ("survey_text", "train_tokenizer", "write_text"):
        monkeypatch.setattr(text_run, name, never)
    assert entry_of(make(files, "second", tmp_path / "cache")) == entry_of(first)


def test_changed_text_is_refused_by_name(make: Make, files: list[str]) -> None:
    run = make(files)
    Path(files[1]).write_text('{"text": "x"}\n')
    with pytest.raises(DataError, match=rf"^{files[1]}: changed since {run.path} was made; "):
        load_text(run)
