"""Tokens on disk: made once, found again, and never those of another text."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from heed.models.errors import DataError
from heed.models.spec.options import changed
from heed.models.spec.preset import complete, preset
from heed.models.tokenizers.subwords import Tokenizer
from heed.transformer.data.batching.token_cache import TextRecord, make_entry
from heed.transformer.data.batching.tokens import open_corpora
from heed.transformer.data.preparation import translation_run
from heed.transformer.data.preparation.translation_run import batches, load_corpus, new_run
from heed.transformer.data.shortlist import Shortlist
from heed.transformer.training.runs.run import TranslationRun
from heed.transformer.training.runs.settings import TranslationConfig

NETWORK = changed(complete(preset("tiny")["network"]), {"n_layers": 1, "d_model": 16, "d_ff": 24, "n_heads": 2})
Make = Callable[..., TranslationRun]


@pytest.fixture
def files(
    write_lines: Callable[[str, list[str]], str], digit_lines: Callable[[int, int], list[str]]
) -> tuple[str, str]:
    return write_lines("train.src", digit_lines(100, 1)), write_lines("train.tgt", digit_lines(100, 2))


@pytest.fixture
def make(files: tuple[str, str], tmp_path: Path) -> Make:
    def run(name: str = "run", cache: Path | None = None, threads: int = 1, **wishes: object) -> TranslationRun:
        asked: dict[str, object] = {"data": (",".join(files),), "vocab_size": 15, "steps": 1}
        config = TranslationConfig(**asked | wishes)  # type: ignore[arg-type]
        return new_run(tmp_path / name, NETWORK, config, cache=cache, threads=threads)[0]

    return run


def never(*arguments: object, **named: object) -> None:
    raise AssertionError


def contents(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def entry_of(run: TranslationRun) -> Path:
    record = TextRecord.load(run.path)
    assert record
    return record.entry(run.path)


def test_a_second_run_on_a_text_finds_its_vocabulary_and_its_tokens(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = make("first", cache=tmp_path / "cache")
    assert not (first.path / "cache").exists()
    before = contents(tmp_path / "cache")
    for name in ("survey", "make_tokenizers", "write_corpora"):
        monkeypatch.setattr(translation_run, name, never)
    second = make("second", cache=tmp_path / "cache")
    assert contents(tmp_path / "cache") == before
    assert second.src_tokenizer.digest == first.src_tokenizer.digest
    assert second.validation == first.validation


def test_a_second_run_on_the_same_tokens_finds_its_shortlist(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(translation_run, "ALWAYS", 5)  # so that this vocabulary is large enough for one
    first = Shortlist.load(make("first", cache=tmp_path / "cache").path)
    assert first
    monkeypatch.setattr(translation_run, "learn_shortlist", never)
    second = Shortlist.load(make("second", cache=tmp_path / "cache").path)
    assert second
    assert np.array_equal(first.likely, second.likely)
    assert np.array_equal(first.always, second.always)


@pytest.mark.parametrize(
    "wishes",
    [{"max_length": 10}, {"max_ratio": 1.5}, {"deduplicate": True}, {"subword_sampling": 0.1}, {"seed": 2}],
    ids=lambda wishes: next(iter(wishes)),
)
def test_what_is_made_otherwise_is_made_again(make: Make, tmp_path: Path, wishes: dict[str, object]) -> None:
    first, second = make("first", tmp_path / "cache"), make("second", tmp_path / "cache", **wishes)
    assert entry_of(first) != entry_of(second)


def test_what_does_not_change_tokens_is_not_asked(make: Make, tmp_path: Path) -> None:
    first = make("first", tmp_path / "cache")
    assert entry_of(make("second", tmp_path / "cache", batch_tokens=99, label_smoothing=0.0)) == entry_of(first)


def test_tokens_do_not_depend_on_threads(make: Make) -> None:
    one, three = (entry_of(make(f"run {threads}", threads=threads)) for threads in (1, 3))
    assert contents(one) == contents(three)


def test_tokens_that_are_gone_are_made_again(make: Make) -> None:
    run = make()
    before = contents(entry_of(run))
    shutil.rmtree(run.path / "cache")
    load_corpus(run)
    assert contents(entry_of(run)) == before


def test_a_run_from_before_there_were_records_goes_on(make: Make) -> None:
    run = make()
    before = contents(entry_of(run))
    shutil.rmtree(run.path / "cache")
    (run.path / "text.json").unlink()
    load_corpus(run)
    assert contents(entry_of(run)) == before


def test_going_on_writes_nothing_where_all_is_there(make: Make) -> None:
    run = make()
    before = contents(run.path)
    load_corpus(run)
    assert contents(run.path) == before


def test_changed_text_is_refused_by_name(make: Make, files: tuple[str, str]) -> None:
    run, path = make(), Path(files[1])
    path.write_bytes(path.read_bytes().replace(b"1", b"2"))
    with pytest.raises(DataError) as caught:
        load_corpus(run)
    assert str(caught.value) == (
        f"{path}: changed since {run.path} was made; restore it, or train a new run on the new text"
    )


def test_the_same_text_at_another_time_is_no_change(make: Make, files: tuple[str, str]) -> None:
    run = make()
    os.utime(files[0], (1, 1))
    load_corpus(run)


def test_text_that_is_gone_is_needed_only_without_tokens(make: Make, files: tuple[str, str]) -> None:
    run = make()
    Path(files[0]).unlink()
    load_corpus(run)
    shutil.rmtree(run.path / "cache")
    with pytest.raises(DataError, match=rf"^{files[0]}: missing, and so are the tokens of {run.path} in "):
        load_corpus(run)


def test_a_damaged_file_of_tokens_is_named(make: Make) -> None:
    run = make()
    damaged = entry_of(run) / "0.ids"
    damaged.write_bytes(damaged.read_bytes()[:-2])
    with pytest.raises(DataError, match=rf"^{damaged}: damaged; delete {damaged.parent}, and heed makes it again$"):
        load_corpus(run)


def test_what_another_run_has_made_in_the_meantime_is_taken(tmp_path: Path) -> None:
    entry = tmp_path / "cache" / "key"

    def fill(directory: Path) -> None:
        (directory / "mine").touch()
        entry.mkdir()
        (entry / "theirs").touch()

    make_entry(entry, fill)
    assert [path.name for path in entry.iterdir()] == ["theirs"]
    assert [path.name for path in entry.parent.iterdir()] == ["key"]


def test_a_pipe_is_no_text(make: Make, files: tuple[str, str]) -> None:
    Path(files[0]).unlink()
    os.mkfifo(files[0])
    with pytest.raises(
        DataError, match=f"^{files[0]}: not a regular file, but text is read several times; store it in a file$"
    ):
        make()


def test_filters_are_counted(
    make: Make, write_lines: Callable[[str, list[str]], str], digits: Tokenizer, tmp_path: Path
) -> None:
    valid = {name: (write_lines(name, ["1 2"]),) for name in ("valid_src", "valid_tgt")}
    (tmp_path / "digits.model").write_bytes(digits.model)
    table = ["1 2\t3 4", "1 2\t3 4", "5\t1 2 3", "6\t", "1 2 3 4 5\t1 2 3 4 5", "1 2\t3 4", "7\t8 9"]
    data = (write_lines("pairs.tsv", table), f"{write_lines('more.tsv', [f'1 2{chr(9)}3 4', '9	9'])}:3")
    filters = {"max_length": 4, "max_ratio": 2.0, "deduplicate": True}
    run = make(data=data, tokenizer=(str(tmp_path / "digits.model"),), **filters, **valid)
    every = batches(run, load_corpus(run))
    assert every.facts == {
        "pairs": 3,
        "left_out_empty": 1,
        "left_out_long": 1,
        "left_out_duplicate": 3,
        "left_out_unequal": 1,
        "vocabulary": 25,
    }
    seen = [line for batch in every.epoch(0, 1) for line in digits.decode(batch.src.tolist())]
    assert sorted(seen) == ["1 2", "7", "9", "9", "9"]  # the second corpus three times


def test_texts_are_kept_where_they_are_cut_anew(make: Make) -> None:
    run = make(subword_sampling=0.5)
    corpora = open_corpora(entry_of(run))
    (texts,) = corpora.texts
    n_pairs, pairs = len(texts), corpora.sample()
    bounds = texts.bounds_of(0, n_pairs)
    lines = [texts.ids_of(int(a), int(b)).tobytes().decode() for a, b in zip(bounds[:-1:2], bounds[1::2], strict=True)]
    assert run.src_tokenizer.encode(lines) == [pairs.src[number].tolist() for number in range(n_pairs)]
