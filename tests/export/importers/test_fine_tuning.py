"""Other people's models trained further: `heed train --init-from`, with the family's tokenizer."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from click.testing import Result
from torch.nn.functional import cross_entropy

from heed.export.importers.texts import ORDINARY
from heed.models.bundle.bundle import Bundle
from heed.transformer.training.objectives.objectives import OBJECTIVES, ComputeSettings
from heed.transformer.training.runs import checkpoint
from heed.transformer.training.runs.run import open_run
from tests.export.importers import tiny
from tests.export.importers.conftest import names

Heed = Callable[..., Result]
CPU = ComputeSettings(torch.device("cpu"), torch.float32)
LINES = ORDINARY[:24]
QUICK = ["--steps", "2", "--valid-every", "1", "--batch-tokens", "200", "--threads", "1", "--precision", "float32"]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Options that name pairs to learn and pairs to be judged by."""
    path = tmp_path_factory.mktemp("pairs")
    lines = [text for text in LINES if len(text) < 60]
    for name, order in {"src": lines, "tgt": lines[1:] + lines[:1]}.items():
        (path / name).write_text("".join(f"{line}\n" for line in order), "utf-8")
    src, tgt = str(path / "src"), str(path / "tgt")
    return ["--src", src, "--tgt", tgt, "--valid-src", src, "--valid-tgt", tgt]


def train(heed: Heed, start: Path, run: Path, *options: str) -> Any:
    """Train further from a model; returns the run."""
    result = heed("train", "--init-from", start, "-o", run, *options, *QUICK)
    assert result.exit_code == 0, result.stderr
    return open_run(run)


def first_loss(run: Any) -> float:
    """The loss of the network that a run began with, over its validation text."""
    network = run.new_network()
    checkpoint.load_weights(run.initial_path, network)
    found: float = OBJECTIVES[run.task](run, CPU).validate(network.eval(), 0).loss
    return found


@torch.inference_mode()
def original_loss(path: Path, run: Any) -> float:
    """The same as transformers computes it, given the ids of its own tokenizer."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(path)
    total, n_tokens = 0.0, 0
    if run.task == "translate":
        original: Any = transformers.AutoModelForSeq2SeqLM.from_pretrained(path)
        for src, tgt in zip(run.validation.src, run.validation.tgt, strict=True):
            ids, labels = tokenizer(src, return_tensors="pt").input_ids, tokenizer(text_target=tgt).input_ids
            found = original(input_ids=ids, labels=torch.tensor([labels])).loss
            total, n_tokens = total + found.item() * len(labels), n_tokens + len(labels)
    else:
        original = transformers.AutoModelForCausalLM.from_pretrained(path)
        for document in run.validation:
            ids = torch.tensor([[*tokenizer(document.text).input_ids, run.tokenizer.eos_id]])
            logits = original(input_ids=ids[:, :-1]).logits[0]
            total += cross_entropy(logits, ids[0, 1:], reduction="sum").item()
            n_tokens += ids.shape[1] - 1
    return total / n_tokens


@pytest.mark.filterwarnings("ignore:Recommended. pip install sacremoses")
def test_a_translator_begins_with_the_loss_of_the_original(
    marian: Path, pairs: list[str], heed: Heed, tmp_path: Path
) -> None:
    run = train(heed, marian, tmp_path / "run", *pairs, "--dropout", "0")
    assert first_loss(run) == pytest.approx(original_loss(marian, run), rel=1e-5)
    best = run.best()[1]
    assert best.loss < first_loss(run)  # it learns
    again = heed("train", "--resume", tmp_path / "run", "--steps", "3")
    assert again.exit_code == 0, again.stderr
    exported = heed("export", tmp_path / "run", "-o", tmp_path / "bundle")
    assert exported.exit_code == 0, exported.stderr
    manifest = Bundle(tmp_path / "bundle").manifest
    assert manifest.conventions == run.imported.conventions
    assert manifest.origin == run.imported.origin
    assert manifest.decode.beam_size == 3  # as the checkpoint says
    translated = heed("translate", "-m", tmp_path / "bundle", "--threads", "1", stdin=b">>deu<< Good morning!\n")
    assert translated.exit_code == 0, translated.stderr
    assert translated.stdout.count("\n") == 1


def test_a_language_model_begins_with_the_loss_of_the_original(llama: Path, heed: Heed, tmp_path: Path) -> None:
    text = tmp_path / "text.jsonl"
    text.write_text("".join(json.dumps({"text": line}) + "\n" for line in LINES[:6]), "utf-8")  # one row
    options = ["--text", str(text), "--valid-text", str(text), "--warmup", "1", "--dropout", "0"]
    run = train(heed, llama, tmp_path / "run", *options)
    assert first_loss(run) == pytest.approx(original_loss(llama, run), rel=1e-5)
    assert run.best()[1].loss < first_loss(run)
    exported = heed("export", tmp_path / "run", "-o", tmp_path / "bundle")
    assert exported.exit_code == 0, exported.stderr
    assert Bundle(tmp_path / "bundle").manifest.conventions == run.imported.conventions
    further = train(heed, tmp_path / "bundle", tmp_path / "further", *options)
    assert first_loss(further) == pytest.approx(run.best()[1].loss, rel=1e-4)
    assert further.imported == run.imported


@pytest.fixture(scope="module")
def nllb(tmp_path_factory: pytest.TempPathFactory, pieces: Callable[..., bytes]) -> Path:
    """An NLLB of two languages."""
    path, model = tmp_path_factory.mktemp("nllb"), pieces(400, bos_id=1, eos_id=2, unk_id=0, pad_id=-1)
    (path / "sentencepiece.bpe.model").write_bytes(model)
    n = len(names(model)) + 1
    added = [{"id": n + number, "content": name} for number, name in enumerate(["deu_Latn", "eng_Latn"])]
    (path / "tokenizer.json").write_text(json.dumps({"added_tokens": added}))
    tiny.save("m2m100", path, vocab_size=n + 2)
    return path


def test_targets_begin_with_the_token_of_their_language(
    nllb: Path, pairs: list[str], heed: Heed, tmp_path: Path
) -> None:
    run = train(heed, nllb, tmp_path / "run", *pairs, "--src-language", "en", "--tgt-language", "de")
    languages = run.imported.conventions.languages
    src, tgt = run.tokenizers
    assert src.encode(["Tea"])[0][0] == languages["eng_Latn"]
    assert tgt.encode(["Tee"])[0][0] == languages["deu_Latn"]
    original: Any = transformers.AutoModelForSeq2SeqLM.from_pretrained(nllb)
    total, n_tokens = 0.0, 0
    for source, target in zip(run.validation.src, run.validation.tgt, strict=True):
        ids, labels = [*src.encode([source])[0], src.eos_id], [*tgt.encode([target])[0], tgt.eos_id]
        with torch.inference_mode():
            found = original(input_ids=torch.tensor([ids]), labels=torch.tensor([labels])).loss
        total, n_tokens = total + found.item() * len(labels), n_tokens + len(labels)
    assert first_loss(run) == pytest.approx(total / n_tokens, rel=1e-5)
    exported = heed("export", tmp_path / "run", "-o", tmp_path / "bundle")
    assert exported.exit_code == 0, exported.stderr


def test_languages_must_be_told(nllb: Path, pairs: list[str], heed: Heed, tmp_path: Path) -> None:
    result = heed("train", "--init-from", nllb, "-o", tmp_path / "run", *pairs, *QUICK)
    assert result.exit_code == 2
    assert "--src-language" in result.stderr
    assert not (tmp_path / "run").exists()


def test_t5(pieces: Callable[..., bytes], pairs: list[str], heed: Heed, tmp_path: Path) -> None:
    path = tmp_path / "t5"
    path.mkdir()
    (path / "spiece.model").write_bytes(pieces(400, pad_id=0, eos_id=1, unk_id=2))
    tiny.save("t5-v1.1", path, vocab_size=500, eos_token_id=1, pad_token_id=0)
    run = train(heed, path, tmp_path / "run", *pairs)
    assert run.best()[1].loss < first_loss(run)


@pytest.mark.parametrize("option", [["--extend-vocabulary", "10"], ["--subword-sampling", "0.1"], ["--d-model", "8"]])
def test_an_imported_network_stays_as_it_is(
    option: list[str], marian: Path, pairs: list[str], heed: Heed, tmp_path: Path
) -> None:
    result = heed("train", "--init-from", marian, "-o", tmp_path / "run", *pairs, *option, *QUICK)
    assert result.exit_code == 2
    assert option[0] in result.stderr


def test_dry_run(marian: Path, pairs: list[str], heed: Heed, tmp_path: Path) -> None:
    result = heed("train", "--init-from", marian, "-o", tmp_path / "run", *pairs, *QUICK, "--dry-run")
    assert result.exit_code == 0, result.stderr
    n_parameters = sum(each.numel() for each in transformers.AutoModelForSeq2SeqLM.from_pretrained(marian).parameters())
    assert f"{n_parameters:,}" in result.stdout or "parameters" in result.stdout


def test_what_is_no_model_is_refused(pairs: list[str], heed: Heed, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "empty", ignore_errors=True)
    (tmp_path / "empty").mkdir()
    result = heed("train", "--init-from", tmp_path / "empty", "-o", tmp_path / "run", *pairs, *QUICK)
    assert result.exit_code == 4
    assert "no checkpoint" in result.stderr
