"""`heed train --text`, `--pairs` and `--init-from`, as a user runs them."""

import gzip
import json
import random
import shutil
import signal
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from click.testing import Result

from heed.models.spec.preset import TEXT_PRESETS
from heed.models.tokenizers.lossless import TextTokenizer
from heed.transformer.data.text.parallel_text import read_validation
from heed.transformer.training.engine import Engine
from heed.transformer.training.runs import checkpoint
from heed.transformer.training.runs.log import RunLog, StepReport
from heed.transformer.training.runs.run import open_run
from heed.transformer.training.trainer import Trainer

Heed = Callable[..., Result]
WriteLines = Callable[[str, list[str]], str]

SIZES = {"n-layers": 1, "d-model": 32, "d-ff": 24, "n-heads": 2, "n-kv-heads": 2, "context": 32}
NETWORK = [word for name, size in SIZES.items() for word in (f"--{name}", str(size))]
MACHINE = ["--device", "cpu", "--threads", "1"]
STEPS = ["--batch-tokens", "256", "--precision", "float32", "--warmup", "2", "--steps", "4", "--valid-every", "2"]
SETTINGS = [*NETWORK, *STEPS, *MACHINE, "--vocab-size", "300"]
LAST = "checkpoints/step-00000004/model.safetensors"


@pytest.fixture
def text(write_lines: WriteLines) -> str:
    chosen = random.Random(1)
    words = ["one", "two", "three", "ROMEO:", "what", "light", "through", "yonder", "window", "breaks"]
    return write_lines("text.txt", [" ".join(chosen.choices(words, k=8)) for _ in range(60)])


@pytest.fixture
def sums(write_lines: WriteLines) -> str:
    records = ({"prompt": f"{number} + 1 =", "completion": f" {number + 1}"} for number in range(40))
    return write_lines("sums.jsonl", [json.dumps(record) for record in records])


@pytest.fixture
def run(heed: Heed, text: str, tmp_path: Path) -> Path:
    """A run that is done, and may be damaged."""
    path = tmp_path / "run"
    result = heed("train", "--text", text, *SETTINGS, "-o", path)
    assert result.exit_code == 0, result.stderr
    return path


def records(run: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text("utf-8").splitlines()]


def config_of(run: Path) -> dict[str, Any]:
    return tomllib.loads((run / "config.toml").read_text("utf-8"))


def complaint(result: Result, exit_code: int) -> str:
    """The error of a command that failed as it should."""
    assert result.exit_code == exit_code, result.stderr
    assert result.stdout_bytes == b""
    *before, last = result.stderr.splitlines()
    if exit_code != 2:
        assert before in ([], ["Reading the text"])
    return last.removeprefix("Error: ")


# A run


def test_a_run_is_recorded(run: Path) -> None:
    names = {"config.toml", "tokenizer.model", "valid.jsonl", "checkpoints", "log.jsonl", "tensorboard"}
    assert {file.name for file in run.iterdir()} == names | {"text.json", "cache"}
    start, *rest = records(run)
    assert (start["documents"], start["vocabulary"], start["step"]) == (1, 300, 0)
    assert [record["step"] for record in rest if record["event"] == "validation"] == [2, 4, 4]
    assert all("bleu" not in record for record in rest)
    found = config_of(run)
    assert found["task"] == "generate"
    assert found["network"]["d_model"] == 32
    assert found["network"]["decoder"]["vocab_size"] == found["train"]["vocab_size"] == 300
    assert found["network"]["dropout"] == 0.2  # the preset's, which is gpt-tiny


def test_what_is_printed_is_of_text(heed: Heed, text: str, tmp_path: Path) -> None:
    result = heed("train", "--text", text, *SETTINGS, "-o", tmp_path / "run")
    assert result.stdout_bytes == b""
    facts, first, second, mean, end = result.stderr.removeprefix("Reading the text\n").splitlines()
    assert facts.startswith("documents 1  tokens ")
    for name, line in (("step 2 ", first), ("step 4 ", second), ("average of the last checkpoints ", mean)):
        assert line.startswith(name)
        assert "  validation perplexity " in line
        assert "  bits per byte " in line
    assert "BLEU" not in result.stderr
    assert end == f"Done. Export it with: heed export {tmp_path / 'run'} -o MODEL"


def test_the_held_out_text_is_no_part_of_the_rest(run: Path, text: str) -> None:
    (line,) = (run / "valid.jsonl").read_text("utf-8").splitlines()
    held = json.loads(line)["text"]
    whole = Path(text).read_text("utf-8")
    assert whole.endswith(held)
    assert len(held) == len(whole) // 20
    start = records(run)[0]
    assert start["tokens"] == len(TextTokenizer.load(run).encode(whole.removesuffix(held))) + 1


def test_files_of_all_kinds_and_validation_of_one_s_own(
    heed: Heed, text: str, sums: str, write_lines: WriteLines, tmp_path: Path
) -> None:
    lines = write_lines("more.jsonl", [json.dumps({"body": f"one two {number}"}) for number in range(7)])
    packed = tmp_path / "packed.txt.gz"
    packed.write_bytes(gzip.compress(b"three\n"))
    files = ["--text", text, "--text", lines, "--text", packed, "--text-field", "body", "--pairs", sums]
    valid = ["--valid-text", text, "--valid-pairs", sums]
    result = heed("train", *files, *valid, *SETTINGS, "-o", tmp_path / "run")
    assert result.exit_code == 0, result.stderr
    assert records(tmp_path / "run")[0]["documents"] == 1 + 7 + 1 + 40
    held = [json.loads(line) for line in (tmp_path / "run/valid.jsonl").read_text("utf-8").splitlines()]
    assert len(held) == 41
    assert held[-1] == {"text": " 40", "prompt": "39 + 1 ="}


def test_the_modern_form(heed: Heed, text: str, tmp_path: Path) -> None:
    form = ["--positions", "rotary", "--norm-kind", "rms", "--activation", "swiglu", "--n-kv-heads", "1"]
    result = heed("train", "--text", text, *SETTINGS, *form, "-o", tmp_path / "run")
    assert result.exit_code == 0, result.stderr
    decoder = config_of(tmp_path / "run")["network"]["decoder"]
    assert (decoder["positions"]["kind"], decoder["positions"]["n_positions"]) == ("rotary", 32)
    assert (decoder["norm"]["kind"], decoder["attention"]["n_kv_heads"]) == ("rms", 1)
    assert (decoder["feed_forward"]["activation"], decoder["feed_forward"]["gated"]) == ("silu", True)


@pytest.mark.parametrize("preset", TEXT_PRESETS)
def test_a_preset_alone_says_all_but_the_text(heed: Heed, text: str, tmp_path: Path, preset: str) -> None:
    sizes = {"n-layers": 1, "d-model": 192, "n-heads": 12, "d-ff": 8, "context": 32, "vocab-size": 300}
    small = [word for name, size in (sizes | {"batch-tokens": 64, "steps": 1}).items() for word in (f"--{name}", size)]
    result = heed("train", "--text", text, "--preset", preset, *small, *MACHINE, "-o", tmp_path / "run")
    assert result.exit_code == 0, result.stderr


def test_two_runs_of_the_same_words_are_the_same(heed: Heed, run: Path, text: str, tmp_path: Path) -> None:
    heed("train", "--text", text, *SETTINGS, "-o", tmp_path / "other")
    heed("train", "--text", text, *SETTINGS, "-o", tmp_path / "third", "--seed", 6)
    assert (tmp_path / "other" / LAST).read_bytes() == (run / LAST).read_bytes()
    assert (tmp_path / "third" / LAST).read_bytes() != (run / LAST).read_bytes()


def test_a_run_is_repeated_by_its_configuration(heed: Heed, run: Path, tmp_path: Path) -> None:
    path = tmp_path / "again"
    result = heed("train", "--config", run / "config.toml", "-o", path, *MACHINE)
    assert result.exit_code == 0, result.stderr
    assert (path / LAST).read_bytes() == (run / LAST).read_bytes()
    assert (path / "config.toml").read_text("utf-8") == (run / "config.toml").read_text("utf-8")


def test_ctrl_c_and_going_on_are_no_stop(
    heed: Heed, run: Path, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped = tmp_path / "stopped"

    def interrupt(self: RunLog, report: StepReport) -> None:
        if report.step == 3:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patched:
        patched.setattr(RunLog, "on_step", interrupt)
        result = heed("train", "--text", text, *SETTINGS, "-o", stopped)
    assert result.exit_code == 130
    assert result.stderr.endswith(f"Stopped. Continue with: heed train --resume {stopped}\n")
    result = heed("train", "--resume", stopped, *MACHINE)
    assert result.exit_code == 0, result.stderr
    assert (stopped / LAST).read_bytes() == (run / LAST).read_bytes()


# What cannot be


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--src", "FILE", "--tgt", "FILE"], "--src, --tgt: not available for this kind of network."),
        (["--joint"], "--joint: not available for this kind of network."),
        (["--label-smoothing", "0.1"], "--label-smoothing: not available for this kind of network."),
        (["--preset", "base"], "--text: not available for this kind of network."),
        (["--encoder-layers", "2"], "encoder_layers: the network has no encoder"),
        (["--n-heads", "3"], "d_model 32 must be a multiple of n_heads 3, or give d_head"),
        (["--n-heads", "4", "--n-kv-heads", "3"], "n_heads 4 must be a multiple of n_kv_heads 3"),
        (["--context", "0"], "context must be at least 1, not 0"),
        (["--learning-rate", "0"], "learning_rate must be a number above 0, not 0.0"),
        (["--skip-bad"], "skip_bad needs training text in a file of .jsonl"),
        (["--weight-decay", "1"], "weight_decay must be at least 0 and below 1, not 1.0"),
        (["--tokenizer", "FILE", "--tokenizer", "FILE"], "tokenizer takes one file, not 2"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_does_not_go_with_text_is_refused(
    heed: Heed, text: str, tmp_path: Path, options: list[str], words: str
) -> None:
    settings = SETTINGS[: -2 if "--tokenizer" in options else None]
    options = [text if option == "FILE" else option for option in options]
    if "--preset" in options:
        settings = []
    result = heed("train", "--text", text, *settings, *options, "-o", tmp_path / "run")
    assert words in complaint(result, 2)
    assert not (tmp_path / "run").exists()


def test_options_of_text_do_not_go_with_translation(heed: Heed, text: str, tmp_path: Path) -> None:
    for option in (["--learning-rate", "1"], ["--valid-text", text]):
        result = heed("train", "--src", text, "--tgt", text, *option, "-o", tmp_path / "run")
        assert complaint(result, 2) == f"{option[0]}: not available for this kind of network."


def test_a_tokenizer_that_changes_texts_is_refused(heed: Heed, trained: Path, text: str, tmp_path: Path) -> None:
    given = trained / "tokenizer.model"
    result = heed("train", "--text", text, *NETWORK, "--tokenizer", given, "-o", tmp_path / "run")
    assert complaint(result, 4).startswith(f"{given}: does not preserve every text; train it with --byte_fallback")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.txt", "", "a.txt: no text; give files that contain text"),
        ("a.txt", "x", "a.txt: the text supports a vocabulary of at most "),
        ("a.jsonl", '{"text": "x"}', "the text is too short to hold some out; give --valid-text or --valid-pairs"),
        ("a.jsonl", '{"body": "x"}', "a.jsonl: line 1 has no text in a field 'text' (its fields: body); "),
        ("a.jsonl", '{"text": "good"}\n{"text"', "a.jsonl: line 2 is not JSON ("),
        ("a.jsonl", '{"text": "\\udc00"}', "a.jsonl: line 1 has \\udc00 in its field 'text', half of a character"),
    ],
)
def test_text_that_cannot_be_used(heed: Heed, tmp_path: Path, name: str, content: str, words: str) -> None:
    path = tmp_path / name
    path.write_text(content)
    result = heed("train", "--text", path, *SETTINGS, "-o", tmp_path / "run")
    assert words in complaint(result, 3)
    assert not (tmp_path / "run").exists()


def test_bad_lines_of_text_are_passed_over_and_counted(heed: Heed, text: str, sums: str, tmp_path: Path) -> None:
    good = [json.dumps({"text": line}) for line in Path(text).read_text("utf-8").splitlines()]
    (tmp_path / "a.jsonl").write_text("\n".join([*good, "{", '{"body": "x"}', ""]), "utf-8")
    with open(sums, "a") as file:  # noqa: PTH123
        file.write('{"prompt": "1 + 1 ="}\n')
    files = ["--text", tmp_path / "a.jsonl", "--pairs", sums]
    result = heed("train", *files, *SETTINGS, "--skip-bad", "-o", tmp_path / "run")
    assert result.exit_code == 0, result.stderr
    assert records(tmp_path / "run")[0]["left_out_bad"] == 3
    assert "\nWarning: 3 bad lines were passed over\n" in result.stderr


def test_a_vocabulary_that_the_text_cannot_fill(heed: Heed, text: str, tmp_path: Path) -> None:
    result = heed("train", "--text", text, *SETTINGS, "--vocab-size", 5000, "-o", tmp_path / "run")
    words = complaint(result, 3)
    assert words.startswith(f"{text}: the text supports a vocabulary of at most ")
    limit = int(words.split()[-3])
    followed = heed("train", "--text", text, *SETTINGS, "--vocab-size", limit, "-o", tmp_path / "run")
    assert followed.exit_code == 0, followed.stderr
    assert records(tmp_path / "run")[0]["vocabulary"] == limit


def test_training_that_diverges_ends_in_a_message(heed: Heed, text: str, tmp_path: Path) -> None:
    result = heed("train", "--text", text, *SETTINGS, "--learning-rate", "1e30", "-o", tmp_path / "run")
    assert result.exit_code == 1
    way_out = "start a new run with a lower learning rate or a longer --warmup"
    assert f"the loss or its gradient is nan; {way_out}" in result.stderr


# Going on from what was learnt


def loss_at_step_0(run: Path) -> float:
    """Of a run that has not begun, by the text it is judged by."""
    shutil.rmtree(run / "checkpoints")
    (run / "checkpoints").mkdir()
    opened = open_run(run)
    trainer: Trainer[Any] = Trainer(opened, cast("Any", None), Engine(torch.device("cpu")), [])
    validation = trainer.validate()
    assert validation
    return validation.result.loss


@pytest.fixture
def translation_text(write_lines: WriteLines, digit_lines: Callable[[int, int], list[str]]) -> list[str]:
    lines = write_lines("digits", digit_lines(60, 9))
    return ["--src", lines, "--tgt", lines, "--valid-src", lines, "--valid-tgt", lines]


def test_a_text_run_begins_with_what_was_learnt(heed: Heed, run: Path, text: str, tmp_path: Path) -> None:
    path = tmp_path / "fine"
    shutil.copy(run / "valid.jsonl", tmp_path / "held.jsonl")
    valid = ["--valid-text", tmp_path / "held.jsonl"]
    result = heed("train", "--init-from", run, "--text", text, *valid, *STEPS, *MACHINE, "-o", path)
    assert result.exit_code == 0, result.stderr
    best, progress = open_run(run).best()
    assert loss_at_step_0(path) == pytest.approx(progress.loss, rel=1e-6)
    kept = checkpoint.read_weights(path / "initial")
    assert all(torch.equal(kept[name], tensor) for name, tensor in checkpoint.read_weights(best).items())
    assert (path / "tokenizer.model").read_bytes() == (run / "tokenizer.model").read_bytes()


def test_a_translation_run_begins_with_what_was_learnt(
    heed: Heed, trained: Path, translation_text: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "fine"
    held = read_validation(trained)
    (tmp_path / "held.src").write_text("".join(line + "\n" for line in held.src), "utf-8")
    (tmp_path / "held.tgt").write_text("".join(line + "\n" for line in held.tgt), "utf-8")
    files = [*translation_text[:4], "--valid-src", tmp_path / "held.src", "--valid-tgt", tmp_path / "held.tgt"]
    result = heed("train", "--init-from", trained, *files, *STEPS, *MACHINE, "-o", path)
    assert result.exit_code == 0, result.stderr
    before, after = config_of(trained), config_of(path)
    assert after["network"] == before["network"]
    assert after["train"]["src_language"] == before["train"]["src_language"] == "digits"
    _, progress = open_run(trained).best()
    assert loss_at_step_0(path) == pytest.approx(progress.loss, rel=1e-6)


def test_a_run_outlives_the_one_that_it_began_with(
    heed: Heed, run: Path, sums: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped before its first checkpoint and after it."""
    arguments = ["--init-from", run, "--pairs", sums, *STEPS, *MACHINE]
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    heed("train", *arguments, "-o", whole)

    def interrupt(self: RunLog, report: StepReport) -> None:
        if report.step == 1:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patched:
        patched.setattr(RunLog, "on_step", interrupt)
        assert heed("train", *arguments, "-o", stopped).exit_code == 130
    begun = tmp_path / "begun"
    shutil.copytree(stopped, begun)
    shutil.rmtree(begun / "checkpoints/step-00000001")
    shutil.rmtree(run)
    for path in (stopped, begun):
        result = heed("train", "--resume", path, *MACHINE)
        assert result.exit_code == 0, result.stderr
        assert (path / LAST).read_bytes() == (whole / LAST).read_bytes()


def test_such_a_run_is_repeated_by_its_configuration(
    heed: Heed, run: Path, sums: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From another directory, and with the dropout that was asked for."""
    monkeypatch.chdir(tmp_path)
    asked = ["--init-from", run.name, "--pairs", Path(sums).name, *STEPS, *MACHINE, "--dropout", "0.4"]
    first, again = tmp_path / "first", tmp_path / "again"
    assert heed("train", *asked, "-o", first).exit_code == 0
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    result = heed("train", "--config", first / "config.toml", "-o", again, *MACHINE)
    assert result.exit_code == 0, result.stderr
    assert config_of(again)["network"]["dropout"] == 0.4
    assert (again / "config.toml").read_text("utf-8") == (first / "config.toml").read_text("utf-8")
    assert (again / LAST).read_bytes() == (first / LAST).read_bytes()


def test_what_the_old_run_decides_cannot_be_asked(heed: Heed, run: Path, text: str, tmp_path: Path) -> None:
    for option in (["--d-model", "8"], ["--vocab-size", "300"], ["--tokenizer", run / "tokenizer.model"], ["--joint"]):
        result = heed("train", "--init-from", run, "--text", text, *option, "-o", tmp_path / "new")
        assert complaint(result, 2) == f"--init-from determines {option[0]}; leave that out."
    assert not (tmp_path / "new").exists()


def test_a_run_of_another_kind_is_no_beginning(heed: Heed, run: Path, trained: Path, text: str, tmp_path: Path) -> None:
    new = tmp_path / "new"
    result = heed("train", "--init-from", trained, "--text", text, "-o", new)
    assert complaint(result, 2) == (
        f"--init-from: {trained} was trained to translate, but this run learns to generate."
    )
    result = heed("train", "--init-from", run, "--src", text, "--tgt", text, "-o", new)
    assert complaint(result, 2) == f"--init-from: {run} was trained to generate, but this run learns to translate."
    result = heed("train", "--init-from", tmp_path, "--text", text, "-o", new)
    assert complaint(result, 4).startswith(f"{tmp_path}: no run, no bundle and no checkpoint")
