"""Every command line of README and docs is run on small files, or a comment says why not; links and options exist.

A box of commands is fenced as `sh`, as `console` (each command after a $, with its output) or as `python`. In the line
before it `<!-- not run: reason -->` leaves it out, and `<!-- output varies -->` runs it without comparing the output.
"""

import gzip
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import click
import pytest
from click.testing import Result

from heed.cli.main import main
from heed.cli.reference import reference

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
LANGUAGES = {"sh", "console", "python", "text", "toml", "json"}
BOX = re.compile(r"(?m)(?:^<!-- (.*) -->\n)?^```(\w*)\n((?:.*\n)*?)```$")
COMMAND = re.compile(r"\$ (.*(?:\\\n.*)*)\n((?:(?!\$ ).*\n)*)")

# Appended to a command that trains: the last of an option that is given twice counts.
BRIEF = "--steps 2 --valid-every 1 --batch-tokens 512 --warmup 2 --precision float32 --device cpu --threads 1"
TINY = "--n-layers 1 --d-model 16 --d-ff 32 --n-heads 2"
TRANSLATION = f"{TINY} --preset tiny --vocab-size 15"
DENOISING = f"{TINY} --preset tiny --vocab-size 16"
MASKED = f"{TINY} --preset bert-tiny --vocab-size 273 --context 48"
TEXT = f"{TINY} --d-model 32 --preset gpt-tiny --n-kv-heads 1 --vocab-size 272 --context 48"


class Box(NamedTuple):
    """A fenced block of a page."""

    place: str
    note: str
    language: str
    text: str

    @property
    def runs(self) -> bool:
        return self.language in {"sh", "console", "python"} and not self.note.startswith("not run: ")

    def commands(self) -> Iterator[tuple[str, str | None]]:
        """Each command, with the output that is shown of it."""
        if self.language == "console":
            for command, output in COMMAND.findall(self.text):
                yield command.replace("\\\n", " "), None if self.note == "output varies" else output
        elif self.language == "sh":
            yield from ((line, None) for line in self.text.replace("\\\n", " ").splitlines() if line)


def boxes() -> list[Box]:
    found = []
    for page in PAGES:
        text = page.read_text("utf-8")
        for match in BOX.finditer(text):
            line = text.count("\n", 0, match.start(2)) + 1
            found.append(Box(f"{page.relative_to(ROOT)}:{line}", match[1] or "", match[2], match[3]))
    return found


def prose(page: Path) -> str:
    """A page without its boxes."""
    return BOX.sub("", page.read_text("utf-8"))


@pytest.fixture(scope="session")
def desk(
    tmp_path_factory: pytest.TempPathFactory,
    digit_lines: Callable[[int, int], list[str]],
    trained: Path,
    trained_text: Path,
    bundle: Path,
    text_bundle: Path,
) -> Path:
    """The files, runs and models that the pages name, made of digits."""
    folder = tmp_path_factory.mktemp("desk")
    lines = digit_lines(60, 5)
    text = "".join(f"{line}\n" for line in lines).encode()
    for name in ("train", "test", "dev", "news", "medical"):
        (folder / f"{name}.en").write_bytes(text)
        (folder / f"{name}.de").write_bytes(text)
    for name in ("novel.txt", "letters.txt", "prompts.txt", "both.txt"):
        (folder / name).write_bytes(text)
    (folder / "crawl.en.gz").write_bytes(gzip.compress(text))
    (folder / "ende.tsv").write_text("".join(f"{line}\t{line}\n" for line in lines), "utf-8")
    (folder / "terms.tsv").write_text("1 2\t3 4\n", "utf-8")
    records: dict[str, list[dict[str, Any]]] = {
        "web.jsonl.gz": [{"src": line, "tgt": line} for line in lines],
        "books.jsonl.gz": [{"body": line} for line in lines],
        "questions.jsonl": [{"prompt": line, "completion": f" {line}"} for line in lines],
        "shop.jsonl": [{"id": number, "text": line} for number, line in enumerate(lines)],
    }
    for name, objects in records.items():
        content = "".join(json.dumps(record) + "\n" for record in objects).encode()
        (folder / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    for name, source in {
        "runs/ende": trained,
        "runs/novel": trained_text,
        "ende": bundle,
        "novel": text_bundle,
    }.items():
        shutil.copytree(source, folder / name)
    return folder


@pytest.fixture
def run_line(
    desk: Path, heed: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], str]:
    """Runs a command line in a copy of these files and returns its output; what needs a shell is run by one."""
    place = tmp_path / "desk"
    shutil.copytree(desk, place)
    monkeypatch.chdir(place)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")

    def run(line: str) -> str:
        words = shlex.split(line, comments=True)
        made = Path(words[words.index("-o") + 1]) if "-o" in words and "--resume" not in words else None
        if made and made.is_dir():
            shutil.rmtree(made)
        elif made:
            made.unlink(missing_ok=True)
        if words[:1] == ["heed"] and not re.search(r"[|<>$;{]", line):
            result = heed(*words[1:], *brief(words))
            assert result.exit_code == 0, result.output
            return result.output
        shell = ["bash", "-euo", "pipefail", "-c", line]
        finished = subprocess.run(
            shell, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
        assert finished.returncode == 0, finished.stdout
        return finished.stdout

    return run


def brief(words: list[str]) -> list[str]:
    """What makes the training of a command line short."""
    if words[1] != "train" or "--config" in words or ("--resume" in words and "--src" not in words):
        return []
    if "--objective" in words:
        network = {"masked": MASKED, "denoise": DENOISING}[words[words.index("--objective") + 1]]
        return f"{BRIEF} {network}".split()
    network = "" if "--init-from" in words else TEXT if {"--text", "--pairs"} & {*words} else TRANSLATION
    return [*BRIEF.split(), *network.split()]


@pytest.mark.parametrize("box", [pytest.param(box, id=box.place) for box in boxes() if box.runs])
def test_what_is_shown_runs(box: Box, run_line: Callable[[str], str], tmp_path: Path) -> None:
    if box.language == "python":
        script = tmp_path / "shown.py"
        script.write_text(box.text, "utf-8")
        run_line(f"{shlex.quote(sys.executable)} {script}")
    for command, output in box.commands():
        written = run_line(command)
        assert output is None or written == output


def test_every_box_is_of_a_known_kind() -> None:
    assert [box.place for box in boxes() if box.language not in LANGUAGES] == []
    for page in PAGES:
        assert (page.name, re.findall(r"(?m)^ {4,}(?:heed|pip|python|torchrun) .*$", prose(page))) == (page.name, [])


def lines_that_name_heed() -> Iterator[tuple[str, str]]:
    """Commands in boxes that are not run, and those within sentences."""
    for box in boxes():
        if box.language in {"sh", "console"} and not box.runs:
            yield from ((box.place, found) for found in re.findall(r"\bheed ([a-z].*)", box.text.replace("\\\n", " ")))
    for page in PAGES:
        yield from ((page.name, found) for found in re.findall(r"`heed ([a-z][^`]*)`", prose(page)))


def test_commands_and_options_that_are_named_exist() -> None:
    for place, line in lines_that_name_heed():
        command: click.Command = main
        for word in re.split(r"[\s|']+", line):
            if isinstance(command, click.Group):
                found = command.get_command(click.Context(command), word)
                assert found is not None, f"{place}: heed {line}"
                command = found
            elif word.startswith("--"):
                known = {name for option in command.params for name in (*option.opts, *option.secondary_opts)}
                assert word.partition("=")[0] in known | {"--help"}, f"{place}: heed {line}"


def test_links_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", prose(page)):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_page_of_options_is_that_of_the_commands() -> None:
    assert (ROOT / "docs/options.md").read_text("utf-8") == reference(), (
        "run: python -m heed.cli.reference > docs/options.md"
    )


def test_the_front_page_is_short() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 150
