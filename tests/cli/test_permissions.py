"""What may not be read or written is told as that, by every command and for each kind of input and output."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

# Root may read everything, but not without these capabilities.
READ_ALL = "-dac_override,-dac_read_search"
AS_ANYBODY = ["setpriv", "--bounding-set", READ_ALL, "--inh-caps", READ_ALL]
RUN_ALL = """
import json, sys
from click.testing import CliRunner
from heed.cli.main import main
for words in json.load(sys.stdin):
    result = CliRunner().invoke(main, words)
    print(json.dumps([result.exit_code, result.stderr, repr(result.exception)]))
"""
TRAIN = "train --preset tiny --steps 1 --device cpu -o run"
COMMANDS = [
    "translate -i secret",
    "translate open secret -o out/",
    "translate -i hidden/open",
    "translate secret.srt",
    "translate --input-format jsonl secret",
    "translate -i open --glossary secret",
    "translate -m weights -i open",
    "translate -m manifest -i open",
    "translate -m hidden -i open",
    "translate -i open -o closed/out",
    "translate -i open -o hidden/out",
    "translate -i open -o closed/out/",
    "translate -i open --resume -o closed/out",
    "generate --batch -i secret",
    "generate --batch -i open --greedy -o closed/out",
    "score -i secret",
    "score --src secret --tgt open",
    "score --src open --tgt secret",
    "score -i open -o closed/out",
    "align --src secret --tgt open",
    "align --src open --tgt hidden/open",
    "attention hello -o closed/x.html",
    "evaluate --src secret --ref open",
    "evaluate --src open --ref secret",
    "evaluate --hyp secret --ref open",
    "evaluate --src open --ref open -m weights",
    f"{TRAIN} --src secret --tgt open",
    f"{TRAIN} --src open --tgt hidden/open",
    f"{TRAIN} --src open --tgt open --valid-src secret --valid-tgt open",
    f"{TRAIN} --data secret.tsv",
    f"{TRAIN} --text secret",
    f"{TRAIN} --src open --tgt open --init-from hidden",
    f"{TRAIN} --config secret",
    "train --resume hidden/run",
    "train --resume log",
    "export hidden -o x",
    "export config -o x",
    "runs list hidden",
    "runs show hidden",
    "runs show log",
    "models info manifest",
    "models verify weights",
    "import hidden -o x",
    "serve -m weights --port 0",
]  # fmt: skip


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory, bundle: Path, trained: Path) -> dict[str, tuple[int, str, str]]:
    """The exit status, the words on stderr and the exception of each command."""
    if os.geteuid() == 0 and shutil.which("setpriv") is None:
        pytest.skip("there is no setpriv")
    directory = tmp_path_factory.mktemp("permissions")
    for name in ("open", "secret", "secret.srt", "secret.tsv"):
        (directory / name).write_text("1 2\n")
    for name in ("hidden", "closed"):
        (directory / name).mkdir()
        (directory / name / "open").write_text("1 2\n")
    shut = {"weights": bundle / "weights.bin", "manifest": bundle / "heed.json", "log": trained / "log.jsonl"}
    shut["config"] = trained / "config.toml"
    for name, file in shut.items():
        shutil.copytree(file.parent, directory / name)
        (directory / name / file.name).chmod(0)
    for name in ("secret", "secret.srt", "secret.tsv", "hidden"):
        (directory / name).chmod(0)
    (directory / "closed").chmod(0o555)
    finished = subprocess.run(
        [*(AS_ANYBODY if os.geteuid() == 0 else []), sys.executable, "-c", RUN_ALL],
        input=json.dumps([command.split() for command in COMMANDS]),
        capture_output=True,
        text=True,
        cwd=directory,
        check=True,
    )
    for name in ("hidden", "closed"):  # so that pytest can clear up
        (directory / name).chmod(0o755)
    return dict(zip(COMMANDS, map(json.loads, finished.stdout.splitlines()), strict=True))


@pytest.mark.parametrize("command", COMMANDS)
def test_permission_denied_is_told(said: dict[str, tuple[int, str, str]], command: str) -> None:
    status, words, exception = said[command]
    assert status == 1, (words, exception)
    assert words.splitlines()[-1].endswith(": Permission denied; check the permissions")
    denied = re.search(r"(secret|hidden|closed|weights|manifest|log|config)\S*: Permission", words)
    assert denied, words
    assert denied[1] in command
