import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import Result

from heed.cli.main import COMMANDS

Heed = Callable[..., Result]
REQUESTS = {".TH", ".SH", ".SS", ".PP", ".TP", ".B", ".RS", ".RE", ".nf", ".fi"}


@pytest.fixture
def pages(heed: Heed, tmp_path: Path) -> dict[str, str]:
    """All pages, by their names."""
    result = heed("man", "-o", tmp_path)
    assert (result.exit_code, result.stdout) == (0, "")
    found = {path.name: path.read_text("utf-8") for path in tmp_path.iterdir()}
    assert result.stderr == f"{len(found)} pages in {tmp_path}\n"
    return found


def plain(page: str) -> str:
    """What a reader sees of a page, in one line."""
    return " ".join(
        re.sub(r"(?m)^\.\w+ ?", "", page).replace(r"\&", "").replace(r"\-", "-").replace(r"\e", "\\").split()
    )


def test_there_is_a_page_for_each_command(pages: dict[str, str], heed: Heed) -> None:
    assert set(pages) >= {"heed.1", "heed-models-list.1", *(f"heed-{name}.1" for name in COMMANDS)}
    assert heed("man").stdout == pages["heed.1"]
    assert heed("man", "models", "list").stdout == pages["heed-models-list.1"]


def test_a_page_says_what_help_says(pages: dict[str, str], heed: Heed) -> None:
    for name, page in pages.items():
        words = name.removesuffix(".1").split("-")[1:]
        shown = plain(page)
        helped = heed(*words, "--help").stdout
        for option in re.findall(r"^  (-[\w-]+(?:, --[\w-]+)?)", helped, re.MULTILINE):
            assert (name, option in shown) == (name, True)
        for example in re.findall(r"^  (heed \S.*)$", helped, re.MULTILINE):
            assert (name, plain(example) in shown) == (name, True)


def test_troff_understands_the_pages(pages: dict[str, str]) -> None:
    for page in pages.values():
        assert page.startswith(".TH HEED")
        requests = {line.partition(" ")[0] for line in page.splitlines() if line.startswith((".", "'"))}
        assert requests <= REQUESTS
        assert page.index(".SH NAME") < page.index(".SH SYNOPSIS") < page.index(".SH DESCRIPTION")
    groff = shutil.which("groff")
    for page in pages.values() if groff else ():
        finished = subprocess.run(
            [str(groff), "-ww", "-man", "-Tutf8", "-Kutf8"], input=page, capture_output=True, text=True, check=False
        )
        assert (finished.returncode, finished.stderr) == (0, "")


def test_text_is_no_command_to_troff() -> None:
    from heed.cli.commands.setup.man import _page

    command = click.Command("odd", help="Is odd.\n\n.TH at the beginning, \\fB within\n\n\b\n'quoted' --flag")
    page = _page(click.Context(command, info_name="odd"))
    assert "\n\\&.TH at the beginning, \\efB within\n" in page
    assert "\n\\&'quoted' \\-\\-flag\n" in page


def test_what_cannot_be_done(heed: Heed, tmp_path: Path) -> None:
    assert heed("man", "tranlsate").exit_code == 2
    assert heed("man", "doctor", "-o", tmp_path).exit_code == 2
    assert heed("man", "-o", tmp_path / "nowhere").exit_code == 2
    assert list(tmp_path.iterdir()) == []
