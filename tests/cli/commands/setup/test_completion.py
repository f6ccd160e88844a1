import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from heed.cli.main import COMMANDS

Heed = Callable[..., Result]


@pytest.fixture
def complete(program: Path, tmp_path: Path, bundle: Path) -> Callable[..., list[str]]:
    """What the installed command proposes for the last of some words, as bash asks for it."""
    shutil.copytree(bundle, tmp_path / "models/mine")

    def ask(*words: str) -> list[str]:
        wanted = {"_HEED_COMPLETE": "bash_complete", "COMP_WORDS": " ".join(words), "COMP_CWORD": str(len(words) - 1)}
        environment = os.environ | wanted | {"HEED_MODELS": str(tmp_path / "models")}
        finished = subprocess.run([program], env=environment, capture_output=True, text=True, timeout=60, check=False)
        assert (finished.returncode, finished.stderr) == (0, "")
        return finished.stdout.split()

    return ask


def test_commands_are_completed(complete: Callable[..., list[str]]) -> None:
    assert complete("heed", "") == [f"plain,{name}" for name in COMMANDS]
    assert complete("heed", "tra") == ["plain,train", "plain,translate"]
    assert complete("heed", "models", "v") == ["plain,verify"]


def test_options_and_their_values_are_completed(complete: Callable[..., list[str]]) -> None:
    assert complete("heed", "evaluate", "--beam-s") == ["plain,--beam-size"]
    assert complete("heed", "evaluate", "--device", "c") == ["plain,cpu", "plain,cuda"]
    assert complete("heed", "evaluate", "--hyp", "a") == ["file,a"]
    assert complete("heed", "completion", "") == ["plain,bash", "plain,zsh", "plain,fish"]


def test_models_are_completed(complete: Callable[..., list[str]]) -> None:
    assert complete("heed", "doctor", "-m", "") == [
        "dir,",
        *(f"plain,{name}" for name in ("en-de", "shakespeare", "de-en", "mine")),
    ]
    assert complete("heed", "doctor", "--model", "m") == ["dir,m", "plain,mine"]
    assert complete("heed", "models", "verify", "mi") == ["dir,mi", "plain,mine"]


@pytest.mark.parametrize("variable", ["HEED_MODEL", "HEED_THREADS"])
def test_a_wrong_environment_hinders_nothing(
    complete: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "nonsense")
    assert complete("heed", "evaluate", "--beam-s") == ["plain,--beam-size"]


def test_completing_loads_nothing_heavy() -> None:
    """A person waits for it after every press of the key."""
    run = "import json, sys; from heed.cli.main import main; main(prog_name='heed', standalone_mode=False)"
    code = f"try: {run}\nfinally: print(json.dumps(list(sys.modules)))"
    for words in ("heed t", "heed models verify ''", "heed evaluate -m e", "heed train --de"):
        environment = os.environ | {
            "_HEED_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" ")),
        }  # fmt: skip
        finished = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True)
        loaded = set(json.loads(finished.stdout.splitlines()[-1]))
        assert loaded & {"numpy", "torch", "onnxruntime", "sentencepiece", "sacrebleu", "rich", "onnx"} == set()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_is_what_the_shell_runs(heed: Heed, shell: str) -> None:
    result = heed("completion", shell)
    assert result.exit_code == 0
    assert f"_HEED_COMPLETE={shell}_complete" in result.stdout
    if installed := shutil.which(shell):
        finished = subprocess.run(
            [installed, "-n"], input=result.stdout, text=True, capture_output=True, timeout=60, check=False
        )
        assert (finished.returncode, finished.stderr) == (0, "")


def test_bash_completes_by_it(heed: Heed, program: Path, tmp_path: Path) -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("there is no bash")
    script = heed("completion", "bash").stdout
    ask = f"COMP_WORDS=(heed tra); COMP_CWORD=1; _heed_completion {program}; echo ${{COMPREPLY[@]}}"
    finished = subprocess.run(
        [bash, "--norc", "-c", f"{script}\n{ask}"], capture_output=True, text=True, timeout=60, check=False
    )
    assert (finished.stdout, finished.stderr) == ("train translate\n", "")


def test_another_shell_is_a_usage_error(heed: Heed) -> None:
    result = heed("completion", "tcsh")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "'bash', 'zsh', 'fish'" in result.stderr
