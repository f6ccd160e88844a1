import errno
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import Result

from heed.cli.main import COMMANDS
from heed.models.bundle import catalog
from heed.models.bundle import manifest as manifests
from heed.models.errors import DataError, HeedError, ModelError

Heed = Callable[..., Result]

HEAVY = {"torch", "onnx", "onnx_ir", "onnxruntime", "sentencepiece", "sacrebleu", "tensorboard", "safetensors", "rich"}

# Runs commands one after another in a fresh interpreter and prints which modules each has brought.
WATCH = """
import contextlib, io, json, sys
from heed.cli.main import main
for arguments in json.loads(sys.argv[1]):
    output = io.StringIO()
    try:
        with contextlib.redirect_stdout(output):
            main(arguments, prog_name="heed")
    except SystemExit as end:
        status = end.code
    names = sorted({name.partition(".")[0] for name in sys.modules})
    print(json.dumps([status, len(output.getvalue()), names]))
"""


def watch(*commands: list[str], stdin: bytes = b"") -> list[tuple[int, int, set[str]]]:
    """For each command its exit status, how much it wrote, and the top-level modules loaded after it."""
    finished = subprocess.run(
        [sys.executable, "-c", WATCH, json.dumps(commands)], input=stdin, capture_output=True, timeout=60, check=False
    )
    assert finished.returncode == 0, finished.stderr.decode()
    found = [json.loads(line) for line in finished.stdout.splitlines() if line.startswith(b"[")]
    assert len(found) == len(commands)
    return [(status, size, set(names)) for status, size, names in found]


def test_help_and_version_load_nothing_heavy() -> None:
    """Eight seconds for --help, because torch was imported, is what people complain of."""
    pages = [
        ["--help"],
        ["-h"],
        ["--version"],
        *([command, "--help"] for command in COMMANDS),
        ["models", "info", "-h"],
    ]
    for page, (status, size, names) in zip(pages, watch(*pages), strict=True):
        assert (page, status) == (page, 0)
        assert size > 0
        assert (page, names & HEAVY) == (page, set())
        if page[0] != "models":
            assert (page, "numpy" in names) == (page, False)


def test_translating_loads_nothing_of_training(bundle: Path, tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.write_text("1 2 3\n")
    output = tmp_path / "out"
    command = ["translate", "-m", str(bundle), "-i", str(source), "-o", str(output), "--threads", "1"]
    ((status, _, names),) = watch(command)
    assert status == 0
    assert output.read_text().strip()
    assert "onnxruntime" in names  # it did load what it needs
    needless = HEAVY - {"onnxruntime", "sentencepiece"}
    assert names & needless == set()


@pytest.mark.parametrize("flag", ["--help", "-h"])
@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS), ["models", "list"], ["models", "verify"]])
def test_every_command_explains_itself(heed: Heed, command: list[str], flag: str) -> None:
    result = heed(*command, flag)
    assert result.exit_code == 0
    assert result.stderr == ""
    assert result.stdout.startswith("Usage: ")
    assert max(map(len, result.stdout.splitlines())) <= 80
    if not command:
        for name, words in COMMANDS.items():
            assert name in result.stdout
            assert words in result.stdout


def test_the_table_s_words_are_the_command_s_own(heed: Heed) -> None:
    for name, words in COMMANDS.items():
        assert words in heed(name, "--help").stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_says_what_it_does(heed: Heed, name: str) -> None:
    from heed.cli.main import main

    command = main.get_command(None, name)  # type: ignore[arg-type]
    assert command is not None
    options = [parameter for parameter in command.params if isinstance(parameter, click.Option)]
    shown = [option for option in options if not option.hidden]
    assert {option.name for option in shown if not option.help} <= {"device"}


def test_the_version_is_the_installed_one(heed: Heed) -> None:
    result = heed("--version")
    assert result.exit_code == 0
    assert result.stdout == f"heed {importlib.metadata.version('heed')}\n"


def test_no_command_is_help(heed: Heed) -> None:
    result = heed()
    assert result.exit_code == 2
    assert "Usage: " in result.stderr


@pytest.mark.parametrize("arguments", [["trian"], ["models", "lst"], ["--colour"], ["models", "info", "a", "b"]])
def test_an_unknown_command_or_option_is_a_usage_error(heed: Heed, arguments: list[str]) -> None:
    result = heed(*arguments)
    assert result.exit_code == 2
    assert result.stdout_bytes == b""
    assert "Try '" in result.stderr
    assert "Traceback" not in result.stderr


# Errors


@pytest.mark.parametrize(
    ("error", "exit_code", "line"),
    [
        (HeedError("this; do that"), 1, "Error: this; do that\n"),
        (DataError("this; do that"), 3, "Error: this; do that\n"),
        (ModelError("this; do that"), 4, "Error: this; do that\n"),
        (FileNotFoundError(errno.ENOENT, "No such file", "a.txt"), 1, "Error: a.txt: No such file; check the name\n"),
        (PermissionError(errno.EACCES, "Denied", "b"), 1, "Error: b: Denied; check the permissions\n"),
        (OSError(errno.EIO, "Input/output error", "c"), 1, "Error: c: Input/output error\n"),
        (
            OSError(errno.ENOSPC, "No space left on device", "d"), 1,
            "Error: d: No space left on device; free some space and run the command again; nothing was replaced\n",
        ),
        (KeyboardInterrupt(), 130, ""),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)  # fmt: skip
def test_an_error_is_a_line_and_a_status(
    heed: Heed, monkeypatch: pytest.MonkeyPatch, error: BaseException, exit_code: int, line: str
) -> None:
    def fail(*asked: object) -> None:
        raise error

    monkeypatch.setattr(catalog, "find", fail)
    result = heed("models", "verify", "x")
    assert (result.exit_code, result.stderr, result.stdout) == (exit_code, line, "")


def test_our_own_bugs_keep_their_traceback(heed: Heed, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*asked: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(catalog, "find", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        heed("models", "verify", "x")


def test_a_disk_that_is_full_behind_stdout_is_told(program: Path, bundle: Path) -> None:
    """As in `heed translate > file`; Python's own last flush failed with a traceback and the status 120."""
    if not Path("/dev/full").is_char_device():
        pytest.skip("there is no /dev/full")
    with Path("/dev/full").open("wb") as full:
        finished = subprocess.run(
            [program, "translate", "-m", bundle, "--threads", "1"],
            input=b"1 2\n", stdout=full, stderr=subprocess.PIPE, timeout=60, check=False,
        )  # fmt: skip
    assert finished.returncode == 1
    assert finished.stderr.decode().startswith("Error: ")
    assert os.strerror(errno.ENOSPC) in finished.stderr.decode()
    assert finished.stderr.count(b"\n") == 1


# Models


@pytest.fixture
def models(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's directory with a model in it, while `bundle` is the one that heed brings."""
    directory = tmp_path / "models"
    directory.mkdir()
    shutil.copytree(bundle, directory / "mine")
    (directory / "notes").mkdir()
    (directory / "readme.txt").write_text("no model")
    monkeypatch.setenv("HEED_MODELS", str(directory))
    monkeypatch.setitem(catalog.DEFAULTS, "translate", bundle)
    monkeypatch.chdir(tmp_path)
    return directory


def test_models_are_listed(heed: Heed, bundle: Path, models: Path) -> None:
    result = heed("models", "list")
    assert result.exit_code == 0
    assert result.stderr == ""
    assert [line.split("\t") for line in result.stdout.splitlines()] == [
        ["bundle", "digits-numbers", "float32", str(bundle)],
        ["shakespeare", "text", "int8", str(catalog.DEFAULT_TEXT)],
        ["de-en", "de-en", "int8", str(catalog.GERMAN)],
        ["mine", "digits-numbers", "float32", str(models / "mine")],
    ]


def test_a_name_of_the_user_s_does_not_hide_the_default(heed: Heed, bundle: Path, models: Path) -> None:
    shutil.copytree(models / "mine", models / "bundle")
    lines = heed("models", "list").stdout.splitlines()
    assert [line.split("\t")[3] for line in lines if line.startswith("bundle\t")] == [str(bundle)]


def test_without_a_directory_of_models_there_are_the_default_ones(
    heed: Heed, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEED_MODELS", str(models / "nowhere"))
    assert len(heed("models", "list").stdout.splitlines()) == 3


def test_a_damaged_model_hides_no_other(heed: Heed, models: Path) -> None:
    shutil.copytree(models / "mine", models / "a-damaged-one")
    (models / "a-damaged-one/heed.json").write_text("{")
    result = heed("models", "list")
    assert "mine\t" in result.stdout
    assert "a-damaged-one" in result.stderr
    assert heed("models", "verify", "mine").exit_code == 0


def test_a_model_is_described_by_its_card(heed: Heed, bundle: Path, models: Path) -> None:
    for choice in ([], ["bundle"], [str(bundle)]):
        result = heed("models", "info", *choice)
        assert result.exit_code == 0
        assert result.stdout == (bundle / "README.md").read_text("utf-8")


def test_a_model_is_described_by_its_manifest(heed: Heed, bundle: Path) -> None:
    result = heed("models", "info", bundle, "--json")
    assert result.exit_code == 0
    assert result.stdout.count("\n") == 1
    assert json.loads(result.stdout) == json.loads((bundle / "heed.json").read_text("utf-8"))


def test_a_card_that_is_missing_is_a_damaged_model(heed: Heed, models: Path) -> None:
    (models / "mine/README.md").unlink()
    result = heed("models", "info", "mine")
    assert result.exit_code in (1, 4)
    assert "README.md" in result.stderr
    assert result.stdout == ""


def test_a_model_is_verified(heed: Heed, bundle: Path, models: Path) -> None:
    files = manifests.read(bundle).files
    n_bytes = sum(file.stat().st_size for file in bundle.iterdir() if file.name != "heed.json")
    result = heed("models", "verify", bundle)
    assert result.exit_code == 0
    assert result.stdout == f"{bundle}: {len(files)} files, {n_bytes:,} bytes, as they were exported\n"
    weights = models / "mine/weights.bin"
    weights.write_bytes(bytes(weights.stat().st_size))
    result = heed("models", "verify", "mine")
    assert result.exit_code == 4
    assert result.stdout == ""
    assert "weights.bin differs from what was exported (SHA-256)" in result.stderr


@pytest.mark.parametrize("command", ["info", "verify"])
def test_a_directory_that_is_no_model(heed: Heed, tmp_path: Path, command: str) -> None:
    result = heed("models", command, tmp_path)
    assert result.exit_code == 4
    assert result.stderr == (
        f"Error: {tmp_path}: not a heed model (no heed.json); name a directory made by heed export\n"
    )


@pytest.mark.parametrize(
    ("arguments", "guess"),
    [
        (["tranlsate"], "'translate'"),
        (["models", "lsit"], "'list'"),
        (["doctor", "--modle", "x"], "'--model'"),
        (["evaluate", "--thread", "2"], "'--threads'"),
    ],
)
def test_what_is_misspelt_is_guessed(heed: Heed, arguments: list[str], guess: str) -> None:
    result = heed(*arguments)
    assert result.exit_code == 2
    assert re.search(f"Did you mean (one of: .*)?{guess}", result.stderr)


def test_the_examples_stand_on_lines_of_their_own(heed: Heed) -> None:
    shown = [line.strip() for line in heed("--help").stdout.splitlines()]
    assert 'echo "Good morning!" | heed translate' in shown
    assert "heed export runs/ende -o ende" in shown


@pytest.mark.parametrize("command", [*([name] for name in COMMANDS), ["models", "list"], ["models", "info"]])
def test_help_begins_with_examples(heed: Heed, command: list[str]) -> None:
    usage, summary, examples, *_ = heed(*command, "--help").stdout.split("\n\n")
    assert usage.startswith("Usage: ")
    assert "\n" not in summary
    assert f"heed {' '.join(command)}" in examples
