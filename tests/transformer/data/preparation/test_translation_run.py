import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from heed.models.errors import DataError, HeedError
from heed.models.spec.options import changed
from heed.models.spec.preset import complete, preset
from heed.models.tokenizers.subwords import Tokenizer
from heed.transformer.data.preparation.corpus_scan import HELD_OUT
from heed.transformer.data.preparation.translation_run import batches, load_corpus, new_run
from heed.transformer.data.vocabulary import train_tokenizer
from heed.transformer.training.runs.run import TranslationRun
from heed.transformer.training.runs.settings import TranslationConfig

NETWORK = changed(complete(preset("tiny")["network"]), {"n_layers": 1, "d_model": 16, "d_ff": 24, "n_heads": 2})
MakeConfig = Callable[..., TranslationConfig]


@pytest.fixture
def make_config(
    write_lines: Callable[[str, list[str]], str], digit_lines: Callable[[int, int], list[str]]
) -> MakeConfig:
    """What is asked of a training on a number of pairs."""

    def make(n_pairs: int = 100, **wishes: object) -> TranslationConfig:
        files = {side: (write_lines(f"train.{side}", digit_lines(n_pairs, 1)),) for side in ("src", "tgt")}
        settings: dict[str, object] = {"vocab_size": 15, "steps": 1, **files}
        return TranslationConfig(**settings | wishes)  # type: ignore[arg-type]

    return make


def digits_of(vocab_size: int) -> Tokenizer:
    return train_tokenizer([" ".join("0123456789")] * 9, vocab_size=vocab_size, name="digits")


@pytest.mark.parametrize(("n_pairs", "held"), [(2, 1), (100, 5), (30_000, HELD_OUT)])
def test_a_share_is_held_out_for_validation(make_config: MakeConfig, tmp_path: Path, n_pairs: int, held: int) -> None:
    (tmp_path / "digits.model").write_bytes(digits_of(15).model)
    config = make_config(n_pairs, tokenizer=(str(tmp_path / "digits.model"),))
    run, corpora = new_run(tmp_path / "run", NETWORK, config)
    sources = Path(config.src[0]).read_text().splitlines()
    chosen = run.validation.src
    assert len(chosen) == len(set(chosen)) == held
    assert len(corpora) == sum(source not in set(chosen) for source in sources)


def test_what_is_held_out_never_trains_though_the_run_goes_on(make_config: MakeConfig, tmp_path: Path) -> None:
    run, _ = new_run(tmp_path / "run", NETWORK, make_config())
    shutil.rmtree(run.path / "cache")  # tokens are made again
    found = batches(run, load_corpus(TranslationRun.open(run.path)))
    for every in (found.in_order(), found.epoch(0, 1)):
        seen = {line for batch in every for line in run.src_tokenizer.decode(batch.src.tolist())}
        assert seen
        assert not seen & set(run.validation.src)


def test_validation_text_that_is_given_is_taken(
    make_config: MakeConfig, write_lines: Callable[[str, list[str]], str], tmp_path: Path
) -> None:
    valid = write_lines("valid.src", ["1 2"]), write_lines("valid.tgt", ["2 1"])
    run, corpora = new_run(tmp_path / "run", NETWORK, make_config(valid_src=valid[:1], valid_tgt=valid[1:]))
    assert (len(corpora), run.validation.src, run.validation.tgt) == (100, ["1 2"], ["2 1"])


def test_a_single_pair_cannot_be_held_out(make_config: MakeConfig, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"1 pairs are too few to hold some out; give --valid-src and --valid-tgt$"):
        new_run(tmp_path / "run", NETWORK, make_config(1))


def vocabularies(run: TranslationRun) -> list[int]:
    """Pieces of the source and of the target."""
    return [stack.vocab_size for stack in run.spec.stacks.values()]


def test_one_vocabulary_serves_both_sides(make_config: MakeConfig, tmp_path: Path) -> None:
    run, _ = new_run(tmp_path / "run", NETWORK, make_config())
    assert run.spec.shared_embedding
    assert vocabularies(run) == [15, 15]
    assert len(run.src_tokenizer) == 15


def test_the_one_vocabulary_is_of_both_sides(
    make_config: MakeConfig, write_lines: Callable[[str, list[str]], str], tmp_path: Path
) -> None:
    words = write_lines("train.words", ["one two", "three four"] * 50)
    run, _ = new_run(tmp_path / "run", NETWORK, make_config(vocab_size=30, tgt=(words,)))
    for line in ("1 2 3 4 5 6 7 8 9 0", "one two three four"):
        assert run.src_tokenizer.decode(run.src_tokenizer.encode([line])) == [line]


def test_two_vocabularies_serve_a_side_each(
    make_config: MakeConfig, write_lines: Callable[[str, list[str]], str], tmp_path: Path
) -> None:
    words = write_lines("train.words", ["one two", "three four"] * 50)
    run, _ = new_run(tmp_path / "run", NETWORK, make_config(joint=False, vocab_size=15, tgt=(words,)))
    assert not run.spec.shared_embedding
    assert not run.spec.tied_output
    assert run.src_tokenizer.unk_id not in run.src_tokenizer.encode(["1 2"])[0]
    assert run.tgt_tokenizer.unk_id not in run.tgt_tokenizer.encode(["two"])[0]
    assert run.tgt_tokenizer.unk_id in run.tgt_tokenizer.encode(["1 2"])[0]


def test_a_tokenizer_that_is_given_is_taken(make_config: MakeConfig, digits: Tokenizer, tmp_path: Path) -> None:
    path = tmp_path / "digits.model"
    path.write_bytes(digits.model)
    run, _ = new_run(tmp_path / "run", NETWORK, make_config(tokenizer=(str(path),)))
    assert run.src_tokenizer.digest == run.tgt_tokenizer.digest == digits.digest
    assert run.spec.shared_embedding


def test_two_tokenizers_that_are_given_are_of_source_and_target(
    make_config: MakeConfig, digits: Tokenizer, tmp_path: Path
) -> None:
    others = train_tokenizer([" ".join("0123456789")], vocab_size=15, name="others")
    paths = [tmp_path / "digits.model", tmp_path / "others.model"]
    for path, tokenizer in zip(paths, (digits, others), strict=True):
        path.write_bytes(tokenizer.model)
    run, _ = new_run(tmp_path / "run", NETWORK, make_config(tokenizer=tuple(str(path) for path in paths)))
    assert (run.src_tokenizer.digest, run.tgt_tokenizer.digest) == (digits.digest, others.digest)
    assert vocabularies(run) == [25, 15]
    assert not run.spec.shared_embedding


@pytest.mark.parametrize(
    ("wishes", "network", "complaint"),
    [
        ({"max_length": 1}, {}, "longer than --max-length 1 tokens"),
        ({"vocab_size": 5000}, {}, "give --vocab-size"),
        ({}, {"d_model": 15}, "the requested network: d_model must be even"),
    ],
)
def test_after_a_refusal_nothing_is_there(
    make_config: MakeConfig, tmp_path: Path, wishes: dict[str, object], network: dict[str, object], complaint: str
) -> None:
    config = make_config(**wishes)
    with pytest.raises(HeedError) as caught:
        new_run(tmp_path / "run", NETWORK | network, config)
    assert complaint in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["train.src", "train.tgt"]


def test_line_ends_within_texts_are_held_out_and_validated_on(make_config: MakeConfig, tmp_path: Path) -> None:
    """Validation stored a line a text was cut at them, and the held-out pair then stayed in training."""
    pairs = [{"src": f"{n} {n}\n{n}", "tgt": f"{n}\n" * (n % 4)} for n in range(100)]
    data = tmp_path / "pairs.jsonl"
    data.write_text("".join(json.dumps(pair) + "\n" for pair in pairs), "utf-8")
    run, corpora = new_run(tmp_path / "run", NETWORK, make_config(src=(), tgt=(), data=(str(data),), vocab_size=15))
    held = TranslationRun.open(run.path).validation
    assert len(held) == 3  # of the 75 that have a target
    assert all({"src": src, "tgt": tgt} in pairs for src, tgt in zip(held.src, held.tgt, strict=True))
    assert corpora.facts["held_out"] == 3
    assert corpora.facts["pairs"] == 72


def test_validation_of_runs_of_0_1_is_read(make_config: MakeConfig, tmp_path: Path) -> None:
    run, _ = new_run(tmp_path / "run", NETWORK, make_config())
    held = run.validation
    (run.path / "valid.jsonl").unlink()
    for name, lines in (("valid.src", held.src), ("valid.tgt", held.tgt)):
        (run.path / name).write_text("".join(line + "\n" for line in lines), "utf-8")
    assert TranslationRun.open(run.path).validation == held
