import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import tomli_w

from heed.models.errors import HeedError, ModelError
from heed.models.runs.settings import FORMAT
from heed.models.spec.network import NetworkSpec
from heed.models.tokenizers.subwords import Tokenizer, file_contents
from heed.transformer.data.text.parallel_text import ParallelText
from heed.transformer.data.vocabulary import train_tokenizer
from heed.transformer.model import Transformer
from heed.transformer.training.runs import checkpoint
from heed.transformer.training.runs.checkpoint import Progress
from heed.transformer.training.runs.run import TranslationRun
from heed.transformer.training.runs.settings import TranslationConfig

TRAIN = TranslationConfig(src=("a.en", "b.en"), tgt=("a.de", "b.de"), steps=7, minutes=0.5, seed=3)
VALIDATION = ParallelText(["1 2", "a\u2028b", "", "a\nb\r"], ["2 1", "c", "3", "\n"])


@pytest.fixture
def run(tmp_path: Path, digits: Tokenizer, describe: Callable[..., NetworkSpec]) -> TranslationRun:
    spec = describe(vocab_size=len(digits), n_layers=1)
    return TranslationRun.create(tmp_path / "run", spec, TRAIN, file_contents(digits, digits), VALIDATION)


def change(run: TranslationRun, **values: object) -> None:
    file = run.path / "config.toml"
    table = tomllib.loads(file.read_text("utf-8")) | values
    file.write_text(tomli_w.dumps({key: value for key, value in table.items() if value is not None}), "utf-8")


def refusal(run: TranslationRun) -> str:
    with pytest.raises(ModelError) as caught:
        TranslationRun.open(run.path)
    return str(caught.value)


def test_what_was_asked_comes_back(run: TranslationRun) -> None:
    found = TranslationRun.open(run.path)
    assert found.spec == run.spec
    assert found.train == TRAIN
    assert found.src_tokenizer.digest == found.tgt_tokenizer.digest == run.src_tokenizer.digest
    assert found.validation == VALIDATION
    assert found.steps() == []


def test_two_tokenizers_come_back_on_their_sides(
    tmp_path: Path, digits: Tokenizer, describe: Callable[..., NetworkSpec]
) -> None:
    letters = train_tokenizer(["a b c"], vocab_size=8, name="letters")
    spec = describe(src_vocab_size=len(digits), vocab_size=len(letters))
    TranslationRun.create(tmp_path / "run", spec, TRAIN, file_contents(digits, letters), VALIDATION)
    found = TranslationRun.open(tmp_path / "run")
    assert found.src_tokenizer.digest == digits.digest
    assert found.tgt_tokenizer.digest == letters.digest


def test_a_run_is_not_made_over_another(run: TranslationRun) -> None:
    with pytest.raises(HeedError, match="already exists"):
        TranslationRun.create(run.path, run.spec, TRAIN, {}, VALIDATION)
    assert TranslationRun.open(run.path).train == TRAIN


def test_a_later_format_is_refused(run: TranslationRun) -> None:
    change(run, format=FORMAT + 1)
    file = run.path / "config.toml"
    assert refusal(run) == f"{file}: format {FORMAT + 1}, but this heed reads {FORMAT}; use the heed that made it"


def test_a_directory_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError) as caught:
        TranslationRun.open(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path}: not a run of heed train")


@pytest.mark.parametrize("content", [b"format = ", b'format = 1\nname = "\xff"'], ids=["not TOML", "no UTF-8"])
def test_a_damaged_configuration_is_refused(run: TranslationRun, content: bytes) -> None:
    (run.path / "config.toml").write_bytes(content)
    assert refusal(run).startswith(f"{run.path / 'config.toml'}: damaged")


@pytest.mark.parametrize("table", ["network", "train"])
def test_a_missing_table_is_named(run: TranslationRun, table: str) -> None:
    change(run, **{table: None})
    assert f"damaged (no table {table})" in refusal(run)


def test_an_unknown_key_is_named(run: TranslationRun) -> None:
    change(run, train=tomllib.loads((run.path / "config.toml").read_text())["train"] | {"warmdown": 3})
    assert refusal(run) == f"{run.path / 'config.toml'}, train: unknown key 'warmdown'"


def test_a_missing_tokenizer_is_named(run: TranslationRun) -> None:
    (run.path / "tokenizer.model").unlink()
    assert str(run.path / "tokenizer.") in refusal(run)


def test_missing_validation_text_is_named(run: TranslationRun) -> None:
    (run.path / "valid.jsonl").unlink()
    with pytest.raises(ModelError) as caught:
        _ = run.validation
    assert str(caught.value).startswith(f"{run.path / 'valid.jsonl'}: ")


def test_without_a_checkpoint_there_is_no_best(run: TranslationRun) -> None:
    with pytest.raises(HeedError, match=rf"no checkpoint yet; continue with: heed train --resume {run.path}$"):
        run.best()


def test_the_best_has_the_highest_bleu_and_then_the_lowest_loss(run: TranslationRun) -> None:
    network = Transformer(run.spec)
    figures = [(8, 30.0, 2.0), (9, 40.0, 2.5), (10, 40.0, 2.0), (11, 40.0, 2.1), (100, None, None)]
    for step, bleu, loss in figures:
        checkpoint.save_weights(
            run.checkpoint_path(step), checkpoint.weights_of(network), Progress(step=step, bleu=bleu, loss=loss)
        )
    assert [path.name for path in run.steps()] == [run.checkpoint_path(step).name for step, _, _ in figures]
    best, progress = run.best()
    assert (best, progress.step) == (run.checkpoint_path(10), 10)
    checkpoint.save_weights(run.average_path, checkpoint.weights_of(network), Progress(step=100, bleu=41.0, loss=1.9))
    assert run.best()[0] == run.average_path
    assert run.average_path not in run.steps()


def test_a_network_is_loaded_for_use(run: TranslationRun) -> None:
    network = Transformer(run.spec)
    checkpoint.save_weights(run.checkpoint_path(1), checkpoint.weights_of(network), Progress(step=1))
    loaded = run.load_network(run.checkpoint_path(1))
    assert not loaded.training
    assert loaded.output_weight.equal(network.output_weight)
