import errno
import json
import os
import resource
import shutil
import signal
import stat
import subprocess
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest
import torch
from click.testing import Result
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from heed.transformer.data.text.parallel_text import read_validation
from heed.transformer.training.runs import checkpoint
from heed.transformer.training.runs.log import RunLog, StepReport
from heed.transformer.training.runs.run import TranslationRun, open_run

Heed = Callable[..., Result]
WriteLines = Callable[[str, list[str]], str]

NETWORK = ["--preset", "tiny", "--n-layers", "1", "--d-model", "16", "--d-ff", "24", "--n-heads", "2"]
TRAINING = ["--vocab-size", "15", "--batch-tokens", "256", "--warmup", "20", "--precision", "float32"]
MACHINE = ["--device", "cpu", "--threads", "1"]
SETTINGS = [*NETWORK, *TRAINING, *MACHINE]


def texts(digit_lines: Callable[[int, int], list[str]]) -> dict[str, list[str]]:
    lines = digit_lines(100, 2)
    return {"train.src": lines, "train.tgt": [line[::-1] for line in lines]}


@pytest.fixture
def pairs(write_lines: WriteLines, digit_lines: Callable[[int, int], list[str]]) -> list[str]:
    source, target = (write_lines(name, lines) for name, lines in texts(digit_lines).items())
    return ["--src", source, "--tgt", target]


@pytest.fixture(scope="module")
def finished(
    heed: Heed, digit_lines: Callable[[int, int], list[str]], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A directory with a run that is done, and its text. Do not write to it."""
    directory = tmp_path_factory.mktemp("finished")
    for name, text in texts(digit_lines).items():
        (directory / name).write_text("".join(line + "\n" for line in text), "utf-8")
    pairs = ["--src", directory / "train.src", "--tgt", directory / "train.tgt"]
    result = heed("train", *pairs, *SETTINGS, "-o", directory / "run", "--steps", 4, "--valid-every", 2)
    assert result.exit_code == 0, result.stderr
    return directory


@pytest.fixture
def run(finished: Path, pairs: list[str], tmp_path: Path) -> Path:
    """A run that is done, and may be damaged; its text is that of `pairs`."""
    path = tmp_path / "run"
    shutil.copytree(finished / "run", path)
    for file in (path / "config.toml", path / "text.json"):
        file.write_text(file.read_text("utf-8").replace(str(finished), str(tmp_path)), "utf-8")
    return path


def contents(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def strict_json(line: str) -> dict[str, object]:
    def refuse(constant: str) -> NoReturn:
        raise AssertionError(f"{constant} is not JSON")

    parsed = json.loads(line, parse_constant=refuse)
    assert isinstance(parsed, dict)
    return parsed


def records(run: Path) -> list[dict[str, object]]:
    return [strict_json(line) for line in (run / "log.jsonl").read_text("utf-8").splitlines()]


def assert_one_line(result: Result, exit_code: int) -> str:
    """The error of a command that failed as it should, without the line that says what it began to do."""
    assert result.exit_code == exit_code, result.stderr
    assert result.stdout_bytes == b""
    *before, last = result.stderr.splitlines()
    assert before in ([], ["Reading the text"])
    return last.removeprefix("Error: ")


# A run


def test_a_run_is_recorded(heed: Heed, pairs: list[str], tmp_path: Path) -> None:
    path = tmp_path / "run"
    result = heed("train", *pairs, *SETTINGS, "-o", path, "--steps", 100, "--valid-every", 50, "--src-language", "en")
    assert result.exit_code == 0, result.stderr
    assert result.stdout_bytes == b""
    assert result.stderr.endswith(f"Done. Export it with: heed export {path} -o MODEL\n")
    names = {
        "config.toml",
        "tokenizer.src.model",
        "tokenizer.tgt.model",
        "valid.jsonl",
        "checkpoints",
        "log.jsonl",
        "tensorboard",
    }
    assert {file.name for file in path.iterdir()} == names | {"text.json", "cache"}
    assert [file.name for file in tmp_path.iterdir() if file.name.startswith(".")] == []

    steps = [("start", 0), ("step", 50), ("validation", 50), ("step", 100), ("validation", 100), ("validation", 100)]
    assert [(record["event"], record["step"]) for record in records(path)] == steps
    assert [record["averaged"] for record in records(path) if record["event"] == "validation"] == [False, False, True]
    start = records(path)[0]
    assert start["pairs"] == 95  # 5 % are held out
    assert (start["device"], start["precision"], start["threads"]) == ("cpu", "float32", 1)
    assert start["vocabulary"] == 15

    config = tomllib.loads((path / "config.toml").read_text("utf-8"))
    assert config["format"] == 3
    assert config["network"]["d_model"] == 16
    assert config["network"]["dropout"] == 0.1  # the preset's
    assert config["train"]["steps"] == 100
    assert config["train"]["src"] == [str(tmp_path / "train.src")]
    assert config["train"]["src_language"] == "en"

    assert {file.name for file in (path / "checkpoints").iterdir()} == {"step-00000050", "step-00000100", "average"}
    for step in (50, 100):
        names = {"model.safetensors", "optimizer.safetensors", "progress.json"}
        assert {file.name for file in (path / f"checkpoints/step-{step:08d}").iterdir()} == names
    assert {file.name for file in (path / "checkpoints/average").iterdir()} == {"model.safetensors", "progress.json"}


def test_tensorboard_shows_what_the_log_says(trained: Path) -> None:
    shown = EventAccumulator(str(trained / "tensorboard")).Reload()
    for event, tag, key in (("step", "train/loss", "loss"), ("step", "train/learning_rate", "learning_rate"),
                            ("validation", "valid/bleu", "bleu"), ("validation", "valid/loss", "loss")):  # fmt: skip
        logged = [
            (record["step"], record[key])
            for record in records(trained)
            if record["event"] == event and not record.get("averaged")
        ]
        found = [(scalar.step, pytest.approx(scalar.value, abs=2e-6)) for scalar in shown.Scalars(tag)]
        assert len(logged) == 3
        assert found == logged


def test_training_learns(trained: Path) -> None:
    """A network of this size that learnt nothing stays at perplexity 14: ten digits and the end."""
    perplexities = [record["perplexity"] for record in records(trained) if record["event"] == "validation"]
    assert isinstance(perplexities[-1], float)
    assert perplexities[-1] < 7


def test_a_record_of_a_network_that_diverged_is_json(tmp_path: Path) -> None:
    with RunLog(tmp_path, every=1) as log:
        for nll in (float("inf"), float("nan"), 1e9):
            log.on_step(
                StepReport(
                    step=1,
                    epoch=0,
                    loss=nll,
                    nll=nll,
                    n_tokens=1,
                    n_filled=1,
                    n_cells=1,
                    grad_norm=nll,
                    flops=1.0,
                    learning_rate=1.0,
                    seconds=1.0,
                    share_done=0.5,
                )
            )
    assert len(records(tmp_path)) == 3


def test_two_runs_of_the_same_words_are_the_same(heed: Heed, pairs: list[str], tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("one", "other")]
    for path in paths:
        heed("train", *pairs, *SETTINGS, "-o", path, "--steps", 3, "--seed", 5)
    last = "checkpoints/step-00000003/model.safetensors"
    one, other = ((path / last).read_bytes() for path in paths)
    assert one == other
    heed("train", *pairs, *SETTINGS, "-o", tmp_path / "third", "--steps", 3, "--seed", 6)
    assert (tmp_path / "third" / last).read_bytes() != one


def test_a_run_is_repeated_by_its_configuration(heed: Heed, run: Path, tmp_path: Path) -> None:
    path = tmp_path / "again"
    result = heed("train", "--config", run / "config.toml", "-o", path, *MACHINE)
    assert result.exit_code == 0, result.stderr
    last = "checkpoints/step-00000004/model.safetensors"
    assert (path / last).read_bytes() == (run / last).read_bytes()
    assert (path / "config.toml").read_text("utf-8") == (run / "config.toml").read_text("utf-8")


def test_options_override_a_configuration(heed: Heed, run: Path, tmp_path: Path) -> None:
    path = tmp_path / "longer"
    result = heed("train", "--config", run / "config.toml", "-o", path, *MACHINE, "--steps", 5, "--d-ff", 32)
    assert result.exit_code == 0, result.stderr
    config = tomllib.loads((path / "config.toml").read_text("utf-8"))
    d_ff = config["network"]["encoder"]["feed_forward"]["d_ff"]
    assert (config["train"]["steps"], d_ff, config["network"]["d_model"]) == (5, 32, 16)


def test_two_vocabularies_and_validation_text_of_one_s_own(
    heed: Heed, pairs: list[str], tmp_path: Path, write_lines: WriteLines
) -> None:
    path = tmp_path / "run"
    letters = Path(pairs[3])
    letters.write_text(letters.read_text().translate(str.maketrans("0123456789", "abcdefghij")))
    valid = ["--valid-src", write_lines("valid.in", ["1 2", "3 4"]), "--valid-tgt", write_lines("valid.out", ["b", ""])]
    result = heed("train", *pairs, *valid, *SETTINGS, "--separate", "-o", path, "--steps", 2)
    assert result.exit_code == 0, result.stderr
    assert read_validation(path).src == ["1 2", "3 4"]
    assert {file.name for file in path.glob("tokenizer*")} == {"tokenizer.src.model", "tokenizer.tgt.model"}
    assert records(path)[0]["pairs"] == 100
    config = tomllib.loads((path / "config.toml").read_text("utf-8"))
    assert config["network"]["shared_embedding"] is config["network"]["tied_output"] is False
    model = tmp_path / "model"
    assert heed("export", path, "-o", model).exit_code == 0
    assert heed("translate", "-m", model, stdin=b"1 2\n").exit_code == 0


def test_given_tokenizers_are_used(heed: Heed, run: Path, pairs: list[str], tmp_path: Path) -> None:
    path = tmp_path / "second"
    given = run / "tokenizer.tgt.model"
    settings = SETTINGS[: SETTINGS.index("--vocab-size")] + SETTINGS[SETTINGS.index("--batch-tokens") :]
    result = heed("train", *pairs, *settings, "--tokenizer", given, "-o", path, "--steps", 2)
    assert result.exit_code == 0, result.stderr
    assert (path / "tokenizer.model").read_bytes() == given.read_bytes()


@pytest.mark.parametrize("option", [["--vocab-size", 30], ["--joint"], ["--separate"]], ids=str)
def test_a_given_tokenizer_leaves_nothing_to_ask_of_a_vocabulary(
    heed: Heed, run: Path, pairs: list[str], tmp_path: Path, option: list[object]
) -> None:
    """Such an option was ignored without a word."""
    path = tmp_path / "second"
    result = heed("train", *pairs, *NETWORK, "--tokenizer", run / "tokenizer.tgt.model", *option, "-o", path)
    assert result.exit_code == 2
    assert f"--tokenizer determines --{'vocab-size' if len(option) == 2 else 'joint'}; leave that out." in result.stderr
    assert not path.exists()


def test_one_vocabulary_asked_for_anew_ties_the_embeddings(heed: Heed, pairs: list[str], tmp_path: Path) -> None:
    first, second, third = (tmp_path / name for name in ("first", "second", "third"))
    heed("train", *pairs, *SETTINGS, "--separate", "-o", first, "--steps", 1)
    for path, options, tied in ((second, ["--joint"], True), (third, ["--joint", "--untied"], False)):
        result = heed("train", "--config", first / "config.toml", "-o", path, *MACHINE, *options)
        assert result.exit_code == 0, result.stderr
        config = tomllib.loads((path / "config.toml").read_text("utf-8"))
        assert (config["train"]["joint"], config["network"]["tied_output"]) == (True, tied)


def test_epochs_and_minutes_are_limits(heed: Heed, pairs: list[str], tmp_path: Path) -> None:
    result = heed("train", *pairs, *SETTINGS, "-o", tmp_path / "epochs", "--epochs", 2)
    assert result.exit_code == 0, result.stderr
    assert records(tmp_path / "epochs")[-1]["epoch"] == 2
    result = heed("train", *pairs, *SETTINGS, "-o", tmp_path / "minutes", "--minutes", 0.005)
    assert result.exit_code == 0, result.stderr
    minutes = records(tmp_path / "minutes")[-1]["minutes"]
    assert isinstance(minutes, float)
    assert minutes >= 0.005


# Text that cannot be used


def test_a_file_that_is_not_there(heed: Heed, pairs: list[str], tmp_path: Path) -> None:
    result = heed("train", "--src", tmp_path / "no.src", *pairs[2:], "-o", tmp_path / "run")
    assert result.exit_code == 2
    assert str(tmp_path / "no.src") in result.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("options", [[], ["--src"], ["--src", "--tgt"], ["-o"], ["--src", "-o"]], ids=" ".join)
def test_what_is_needed_is_asked_for(heed: Heed, pairs: list[str], tmp_path: Path, options: list[str]) -> None:
    values = {"--src": pairs[1], "--tgt": pairs[3], "-o": str(tmp_path / "run")}
    result = heed("train", *[word for option in options for word in (option, values[option])])
    assert result.exit_code == 2
    assert "--src and --tgt, --data, --text or --pairs; or --resume RUN" in result.stderr
    assert not (tmp_path / "run").exists()


def test_files_of_unequal_length(heed: Heed, pairs: list[str], tmp_path: Path, write_lines: WriteLines) -> None:
    short = write_lines("short", ["1 2"] * 99)
    result = heed("train", *pairs[:2], "--tgt", short, *SETTINGS, "-o", tmp_path / "run")
    assert assert_one_line(result, 3) == (
        f"{pairs[1]} has 100 lines and {short} has 99; they must correspond line by line"
    )
    assert not (tmp_path / "run").exists()


def test_text_that_is_no_utf_8(heed: Heed, pairs: list[str], tmp_path: Path) -> None:
    latin = tmp_path / "latin"
    latin.write_bytes("eins\nzwei\nfünf\n".encode("latin-1") + b"6\n" * 97)
    result = heed("train", *pairs[:2], "--tgt", latin, *SETTINGS, "-o", tmp_path / "run")
    assert assert_one_line(result, 3) == (
        f"{latin}: line 3 is not UTF-8 (byte 0xfc at column 2); convert the file with iconv, or correct the line"
    )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("lines", [[], [""], ["", " ", ""] * 20, ["1 2"], ["1 2 3", "2 3 1"] + [""] * 50], ids=len)
def test_text_with_nothing_in_it(heed: Heed, tmp_path: Path, write_lines: WriteLines, lines: list[str]) -> None:
    """The last has two pairs: with one for validation, too little for a vocabulary, or for a batch."""
    path = write_lines("text", lines)
    result = heed("train", "--src", path, "--tgt", path, *SETTINGS, "-o", tmp_path / "run")
    complaint = assert_one_line(result, 3)
    assert path in complaint
    assert ";" in complaint  # a way out
    assert not (tmp_path / "run").exists()


def test_pairs_that_are_all_too_long(heed: Heed, pairs: list[str], tmp_path: Path) -> None:
    result = heed("train", *pairs, *SETTINGS, "--max-length", 1, "-o", tmp_path / "run")
    assert "--max-length 1" in assert_one_line(result, 3)
    assert not (tmp_path / "run").exists()


def test_a_vocabulary_that_the_text_cannot_fill(heed: Heed, pairs: list[str], tmp_path: Path) -> None:
    result = heed("train", *pairs, *SETTINGS, "--vocab-size", 5000, "-o", tmp_path / "run")
    complaint = assert_one_line(result, 3)
    assert complaint.startswith(f"{pairs[1]} and {pairs[3]}: the text supports a vocabulary of at most ")
    limit = int(complaint.split()[-3])
    assert complaint.endswith(f"; give --vocab-size {limit} or less")
    assert not (tmp_path / "run").exists()
    followed = heed("train", *pairs, *SETTINGS, "--vocab-size", limit, "-o", tmp_path / "run", "--steps", 1)
    assert followed.exit_code == 0, followed.stderr


def test_a_vocabulary_below_the_characters(heed: Heed, pairs: list[str], tmp_path: Path) -> None:
    result = heed("train", *pairs, *SETTINGS, "--vocab-size", 9, "-o", tmp_path / "run")
    assert "--vocab-size" in assert_one_line(result, 3)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--steps", "0"),
        ("--batch-tokens", "-1"),
        ("--label-smoothing", "1"),
        ("--dropout", "1"),
        ("--n-layers", "0"),
        ("--n-heads", "3"),
        ("--seed", "-1"),
        ("--warmup", "0"),
        ("--minutes", "0"),
        ("--learning-rate-scale", "nan"),
    ],
)
def test_a_value_that_cannot_be_is_named(heed: Heed, pairs: list[str], tmp_path: Path, option: str, value: str) -> None:
    result = heed("train", *pairs, *SETTINGS, "-o", tmp_path / "run", "--steps", 2, option, value)
    assert result.exit_code in (2, 4)
    assert option.removeprefix("--").replace("-", "_") in result.stderr.replace("-", "_")
    assert value in result.stderr
    assert not (tmp_path / "run").exists()


def test_training_that_diverges_ends_in_a_message(heed: Heed, pairs: list[str], tmp_path: Path) -> None:
    """No hypothesis has a probability then, and the search found none at all."""
    rate = ["--learning-rate-scale", "1e30", "--steps", "4", "--valid-every", "2"]
    result = heed("train", *pairs, *SETTINGS, *rate, "-o", tmp_path / "run")
    assert result.exit_code in (0, 1)
    assert "nan" in result.stderr or "learning rate" in result.stderr.replace("-", " ")


def test_a_device_that_is_none(heed: Heed, pairs: list[str], tmp_path: Path) -> None:
    result = heed("train", *pairs, *SETTINGS, "--device", "abacus", "-o", tmp_path / "run")
    assert result.exit_code == 4
    assert "Error: device 'abacus' is neither cpu nor cuda" in result.stderr
    assert result.stderr.endswith("; give --device cpu\n")


def test_an_output_that_exists_is_left_as_it_was(heed: Heed, pairs: list[str], tmp_path: Path) -> None:
    output = tmp_path / "run"
    output.mkdir()
    (output / "precious").write_text("mine")
    result = heed("train", *pairs, *SETTINGS, "-o", output)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: {output}: already exists; ")
    assert contents(output) == {"precious": b"mine"}


def test_the_way_out_of_an_output_that_exists_is_an_option_of_the_command(
    heed: Heed, pairs: list[str], run: Path
) -> None:
    complaint = heed("train", *pairs, *SETTINGS, "-o", run).stderr
    if "--force" in complaint:
        assert "--force" in heed("train", "--help").stdout


# Going on


def test_what_is_no_run_cannot_go_on(heed: Heed, tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere"):
        result = heed("train", "--resume", path)
        assert assert_one_line(result, 4) == (
            f"{path}: not a run of heed train (no config.toml); name the directory given to -o"
        )


@pytest.mark.parametrize(
    "options",
    [["-o", "elsewhere"], ["--d-model", "32"], ["--dropout", "0"], ["--untied"], ["--preset", "big"]],
    ids=" ".join,
)
def test_a_run_goes_on_as_it_was_asked(heed: Heed, run: Path, options: list[str]) -> None:
    before = contents(run)
    result = heed("train", "--resume", run, *options)
    assert result.exit_code == 2
    assert "--resume continues " in result.stderr
    assert contents(run) == before


def test_a_run_of_a_later_format(heed: Heed, run: Path) -> None:
    config = run / "config.toml"
    config.write_text(config.read_text("utf-8").replace("format = 3", "format = 4"), "utf-8")
    result = heed("train", "--resume", run, *MACHINE)
    assert assert_one_line(result, 4) == f"{config}: format 4, but this heed reads 3; use the heed that made it"


def test_a_finished_run_goes_on_to_another_limit(heed: Heed, pairs: list[str], run: Path, tmp_path: Path) -> None:
    """The paper's schedule does not know the end: it is as if the run had been asked for that from the beginning."""
    result = heed("train", "--resume", run, "--steps", 6, *MACHINE)
    assert result.exit_code == 0, result.stderr
    whole = tmp_path / "whole"
    assert heed("train", *pairs, *SETTINGS, "-o", whole, "--steps", 6, "--valid-every", 2).exit_code == 0
    last = "checkpoints/step-00000006/optimizer.safetensors"
    assert (run / last).read_bytes() == (whole / last).read_bytes()
    one, other = (tomllib.loads((path / "config.toml").read_text("utf-8")) for path in (run, whole))
    assert one == other


def test_the_same_command_begins_a_run_and_goes_on_with_it(heed: Heed, pairs: list[str], tmp_path: Path) -> None:
    command = ["train", "--resume", tmp_path / "run", *pairs, *SETTINGS, "--steps", 4, "--valid-every", 2]
    for _ in range(2):
        result = heed(*command)
        assert result.exit_code == 0, result.stderr
    refused = heed(*command, "--seed", 3, "--dropout", 0.25)
    assert refused.exit_code == 2
    complaint = " ".join(refused.stderr.split())
    assert "--dropout is 0.1 there and 0.25 here" in complaint
    assert "--seed is 1 there and 3 here" in complaint


def test_two_at_a_time_are_kept_apart(heed: Heed, run: Path) -> None:
    before = contents(run)
    with open_run(run).claimed():
        result = heed("train", "--resume", run, *MACHINE)
    assert result.exit_code == 1
    assert result.stderr.endswith(f"Error: {run}: another heed train is using it; wait for it, or stop it\n")
    assert contents(run) == before


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("d_model = 16", 'd_model = "wide"', "d_model must be a whole number, not 'wide'"),
        ("d_model = 16", "width = 16", "unknown key 'width'; missing key 'd_model'"),
        ("seed = 1", "seed = ", "damaged ("),
        ("[train]", "[trains]", "no table train"),
    ],
)
def test_a_configuration_that_was_damaged(heed: Heed, run: Path, old: str, new: str, complaint: str) -> None:
    config = run / "config.toml"
    text = config.read_text("utf-8")
    assert text.count(old) == 1
    config.write_text(text.replace(old, new), "utf-8")
    result = heed("train", "--resume", run, *MACHINE)
    found = assert_one_line(result, 4)
    assert found.startswith(str(config))
    assert complaint in found


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "progress.json"])
@pytest.mark.parametrize("content", [None, b"", b"\x00" * 50, b"{}"], ids=["missing", "empty", "zeros", "braces"])
def test_a_damaged_checkpoint_is_named_and_can_be_given_up(
    heed: Heed, run: Path, name: str, content: bytes | None
) -> None:
    shutil.rmtree(run / "checkpoints/average")
    last = run / "checkpoints/step-00000004"
    (last / name).unlink()
    if content is not None:
        (last / name).write_bytes(content)
    result = heed("train", "--resume", run, *MACHINE)
    if content == b"{}" and name == "progress.json":
        assert result.exit_code in (0, 4)  # every figure of it may be missing
        return
    assert result.exit_code == 4, result.stderr
    assert f"Error: {last}" in result.stderr
    assert "delete it" in result.stderr
    shutil.rmtree(last)
    assert heed("train", "--resume", run, *MACHINE).exit_code == 0
    assert (last / name).exists()


def test_a_run_that_is_done_stays_done(heed: Heed, run: Path) -> None:
    last = run / "checkpoints/step-00000004/model.safetensors"
    before = last.read_bytes()
    result = heed("train", "--resume", run, *MACHINE)
    assert result.exit_code == 0, result.stderr
    assert last.read_bytes() == before
    assert len(list((run / "checkpoints").glob("step-*"))) == 2


# A disk that is full


def failing_second_checkpoint(monkeypatch: pytest.MonkeyPatch, fail: Callable[[], None]) -> None:
    """Let `fail` change the world while the second checkpoint is written."""
    save, done = checkpoint.save, []

    def save_second(*arguments: object) -> None:
        done.append(1)
        if len(done) == 2:
            fail()
        save(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(checkpoint, "save", save_second)


def assert_first_checkpoint_is_good(heed: Heed, run: Path, result: Result) -> None:
    assert result.exit_code == 1
    *_, last = result.stderr.splitlines()
    assert last.startswith("Error: ")
    assert "step-00000004" in last
    assert "Traceback" not in result.stderr
    assert {path.name for path in (run / "checkpoints").iterdir()} == {"step-00000002"}
    resumed = heed("train", "--resume", run, *MACHINE)
    assert resumed.exit_code == 0, resumed.stderr
    assert "  step 2\n" in resumed.stderr  # it went on from the good one


def test_a_full_disk_leaves_the_last_good_checkpoint(
    heed: Heed, pairs: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill() -> None:
        def fsync(descriptor: int) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(os, "fsync", fsync)

    run = tmp_path / "run"
    with monkeypatch.context() as patched:
        failing_second_checkpoint(patched, fill)
        result = heed("train", *pairs, *SETTINGS, "-o", run, "--steps", 4, "--valid-every", 2)
        patched.undo()
    monkeypatch.undo()
    assert "No space left on device" in result.stderr
    assert "free some space" in result.stderr
    assert_first_checkpoint_is_good(heed, run, result)


def test_a_write_that_fails_leaves_the_last_good_checkpoint(
    heed: Heed, pairs: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real failure of the operating system, in whatever library it comes up: files may not pass 20 kB."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    run = tmp_path / "run"
    try:
        with monkeypatch.context() as patched:
            failing_second_checkpoint(patched, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1])))
            result = heed("train", *pairs, *SETTINGS, "-o", run, "--steps", 4, "--valid-every", 2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert_first_checkpoint_is_good(heed, run, result)


# Signals


def test_ctrl_c_saves_and_says_how_to_go_on(heed: Heed, program: Path, pairs: list[str], tmp_path: Path) -> None:
    run, log = tmp_path / "run", tmp_path / "run/log.jsonl"
    # Some milliseconds a step: there is a second left when the signal comes.
    command = [program, "train", *pairs, *SETTINGS, "-o", run, "--steps", "200", "--valid-every", "10000"]
    process = subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        give_up = time.monotonic() + 60
        while not (log.exists() and '"event": "step"' in log.read_text("utf-8")):
            assert process.poll() is None
            assert time.monotonic() < give_up
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        data, complaints = process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 130
    assert data == b""
    assert b"Traceback" not in complaints
    assert complaints.decode().endswith(f"Stopped. Continue with: heed train --resume {run}\n")
    (saved,) = (run / "checkpoints").iterdir()
    step = int(saved.name.removeprefix("step-"))
    assert 50 <= step < 200

    words = complaints.decode().splitlines()[-1].split("heed ")[1].split()
    resumed = heed(*words, *MACHINE)
    assert resumed.exit_code == 0, resumed.stderr
    assert resumed.stderr.endswith(f"Done. Export it with: heed export {run} -o MODEL\n")
    assert f"  step {step}\n" in resumed.stderr
    assert [record["step"] for record in records(run) if record["event"] == "start"] == [0]
    assert (run / "checkpoints/step-00000200").is_dir()


def test_a_stop_and_going_on_is_no_stop(
    heed: Heed, pairs: list[str], run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bit for bit, in the middle of a pass over the text."""
    stopped = tmp_path / "stopped"

    def interrupt(self: RunLog, report: StepReport) -> None:
        if report.step == 3:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patched:
        patched.setattr(RunLog, "on_step", interrupt)
        result = heed("train", *pairs, *SETTINGS, "-o", stopped, "--steps", 4, "--valid-every", 2)
    assert result.exit_code == 130
    assert result.stderr.endswith(f"Stopped. Continue with: heed train --resume {stopped}\n")
    assert (stopped / "checkpoints/step-00000003").is_dir()
    assert heed("train", "--resume", stopped, *MACHINE).exit_code == 0
    for file in ("model.safetensors", "optimizer.safetensors"):
        last = f"checkpoints/step-00000004/{file}"
        assert (stopped / last).read_bytes() == (run / last).read_bytes()


def test_a_device_that_is_not_there_is_refused_before_anything_is_written(heed: Heed, tmp_path: Path) -> None:
    src = tmp_path / "text"
    src.write_text("1 2 3\n" * 30)
    result = heed("train", "--src", src, "--tgt", src, "-o", tmp_path / "run", "--device", "nonsense")
    assert result.exit_code == 4
    assert "device 'nonsense' is neither cpu nor cuda" in result.stderr
    assert not (tmp_path / "run").exists()


def test_a_limit_that_is_over_at_once_leaves_a_run_to_export(
    heed: Heed,
    write_lines: Callable[[str, list[str]], str],
    digit_lines: Callable[[int, int], list[str]],
    tmp_path: Path,
) -> None:
    """Nothing trained was nothing to average, and a traceback."""
    text = write_lines("text", digit_lines(60, 5))
    arguments = ("--preset", "tiny", "--vocab-size", 15, "--threads", 1, "--minutes", 1e-9)
    result = heed("train", "--src", text, "--tgt", text, "-o", tmp_path / "run", *arguments)
    assert result.exit_code == 0, result.stderr
    assert (tmp_path / "run" / "checkpoints" / "average").is_dir()


# Corpora


def test_corpora_of_several_kinds_with_weights(
    heed: Heed, pairs: list[str], tmp_path: Path, write_lines: WriteLines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_lines("more.tsv", [f"{n} {n}\t{n}" for n in range(10, 40)])
    write_lines("other.jsonl", ['{"src": "1 2 3", "tgt": "3 2 1"}', '{"src": "1"}'] * 20)
    data = ["--data", "more.tsv:2", "--data", "other.jsonl:0.5", "--deduplicate", "--max-ratio", "3", "--skip-bad"]
    sampling = ["--subword-sampling", "0.1", "--cache", "tokens"]
    whole, again = tmp_path / "whole", tmp_path / "again"
    result = heed("train", *pairs, *data, *sampling, *SETTINGS, "-o", whole, "--epochs", 2)
    assert result.exit_code == 0, result.stderr
    train = tomllib.loads((whole / "config.toml").read_text("utf-8"))["train"]
    assert train["data"] == [f"{tmp_path}/more.tsv:2", f"{tmp_path}/other.jsonl:0.5"]
    assert (train["max_ratio"], train["deduplicate"], train["subword_sampling"]) == (3.0, True, 0.1)
    assert "cache" not in train
    start = records(whole)[0]
    assert isinstance(start["left_out_duplicate"], int)
    assert start["left_out_duplicate"] >= 19
    assert {"left_out_empty", "left_out_long", "left_out_unequal"} <= start.keys()
    assert start["left_out_bad"] == 20
    assert "\nWarning: 20 bad lines were passed over\n" in result.stderr
    monkeypatch.chdir("/")
    result = heed("train", "--config", whole / "config.toml", "-o", again, *MACHINE)  # without the cache
    assert result.exit_code == 0, result.stderr
    (last,) = (path.name for path in (whole / "checkpoints").glob("step-*"))
    file = f"checkpoints/{last}/model.safetensors"
    assert (again / file).read_bytes() == (whole / file).read_bytes()


def test_data_that_is_none_is_refused(heed: Heed, pairs: list[str], tmp_path: Path) -> None:
    for data, words in (
        (f"{pairs[1]}", "one file has both sides only as .tsv, .csv, .jsonl"),
        (f"{tmp_path}/no.tsv:2", f"{tmp_path}/no.tsv"),
        (f"{pairs[1]},{pairs[3]}:0", "the weight must be a number above 0, not 0"),
    ):
        result = heed("train", "--data", data, *SETTINGS, "-o", tmp_path / "run")
        assert result.exit_code == 2
        assert words in result.stderr
        assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("value", [["--max-ratio", "0.5"], ["--subword-sampling", "1"], ["--skip-bad"]], ids=" ".join)
def test_filters_that_cannot_be_are_named(heed: Heed, pairs: list[str], tmp_path: Path, value: list[str]) -> None:
    result = heed("train", *pairs, *SETTINGS, *value, "-o", tmp_path / "run")
    assert result.exit_code == 2
    assert value[0].removeprefix("--").replace("-", "_") in result.stderr
    assert not (tmp_path / "run").exists()


def test_a_run_does_not_go_on_with_changed_text(heed: Heed, run: Path, pairs: list[str]) -> None:
    path = Path(pairs[1])
    path.write_text(path.read_text()[::-1])
    result = heed("train", "--resume", run, *MACHINE)
    assert assert_one_line(result, 3).startswith(f"{path}: changed since {run} was made; ")


# Files


def test_all_files_follow_the_umask(run: Path) -> None:
    """Another user of the group is to export what was trained; safetensors itself writes for its owner alone."""
    mask = os.umask(0)
    os.umask(mask)
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in [run, *run.rglob("*")]}
    assert len(modes) > 10
    for path, mode in modes.items():
        assert mode == (0o777 if path.is_dir() else 0o666) & ~mask, path


# Text that a vocabulary lacks


@pytest.fixture
def greek(write_lines: WriteLines) -> list[str]:
    lines = [f"{word} {number % 10}" for number in range(100) for word in ("γάτα", "σκύλος", "το")]
    return ["--src", write_lines("greek.src", lines), "--tgt", write_lines("greek.tgt", lines)]


@pytest.mark.parametrize("source", ["trained", "bundle"])
def test_what_the_vocabulary_lacks_is_refused_and_can_be_added(
    heed: Heed, greek: list[str], tmp_path: Path, request: pytest.FixtureRequest, source: str
) -> None:
    """It trained on <unk> to a fine perplexity, and said nothing."""
    initial, path = request.getfixturevalue(source), tmp_path / "greek"
    command = ["train", "--init-from", initial, *greek, *MACHINE, "--steps", 3, "--valid-every", 3, "-o", path]
    refused = heed(*command)
    assert "the vocabulary lacks" in assert_one_line(refused, 3)
    assert "--extend-vocabulary" in refused.stderr
    assert not path.exists()

    result = heed(*command, "--extend-vocabulary", 20)
    assert result.exit_code == 0, result.stderr
    run = TranslationRun.open(path)
    assert {stack.vocab_size for stack in run.spec.stacks.values()} == {45}
    before, _ = open_run(request.getfixturevalue("trained")).best()
    kept, own = checkpoint.read_weights(path / "initial"), checkpoint.read_weights(before)
    assert kept.keys() == own.keys()
    for name, tensor in own.items():
        torch.testing.assert_close(kept[name][: len(tensor)], tensor, msg=name)
    assert sum(len(kept[name]) > len(tensor) for name, tensor in own.items()) == 1  # the tied matrix
    model = tmp_path / "model"
    assert heed("export", path, "-o", model).exit_code == 0
    assert heed("translate", "-m", model, stdin="γάτα\n".encode()).exit_code == 0
    assert heed("train", "--resume", path).exit_code == 0  # it is done


def test_a_vocabulary_is_extended_only_where_one_is_given(heed: Heed, pairs: list[str], tmp_path: Path) -> None:
    result = heed("train", *pairs, *SETTINGS, "--extend-vocabulary", 9, "-o", tmp_path / "run")
    assert result.exit_code == 2
    assert "extend_vocabulary must be a number of pieces for the vocabulary of tokenizer or init_from" in result.stderr


def test_a_target_is_learnt_as_it_is_written(heed: Heed, write_lines: WriteLines, tmp_path: Path) -> None:
    lines = [f"{number}\uff01…" for number in range(100, 300)]
    text = ["--src", write_lines("in", lines), "--tgt", write_lines("out", lines)]
    path, both = tmp_path / "run", tmp_path / "both"
    assert heed("train", *text, *SETTINGS, "--vocab-size", 22, "--steps", 1, "-o", path).exit_code == 0
    run = TranslationRun.open(path)
    assert run.tgt_tokenizer.decode(run.tgt_tokenizer.encode(["1\uff01…"])) == ["1\uff01…"]
    assert run.src_tokenizer.encode(["1\uff01"]) == run.tgt_tokenizer.encode(["1!"])
    how = ["--tgt-normalization", "nfkc", "--vocab-size", 22, "--steps", 1]
    assert heed("train", *text, *SETTINGS, *how, "-o", both).exit_code == 0
    run = TranslationRun.open(both)
    assert run.tgt_tokenizer.decode(run.tgt_tokenizer.encode(["1\uff01…"])) == ["1!..."]
    assert (both / "tokenizer.model").is_file()  # one for both sides
