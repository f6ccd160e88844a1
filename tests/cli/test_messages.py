import importlib
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from heed.cli import messages
from heed.cli.command import Command, Group
from heed.cli.main import COMMANDS, main
from heed.models.errors import HeedError

Heed = Callable[..., Result]


@click.command(cls=Command)
def speak() -> None:
    """Say one of each."""
    messages.warning("a warning")
    messages.note("a note")
    messages.detail("a detail")
    messages.console().print("[red]progress[/red]")
    click.echo("data")


@pytest.mark.parametrize(
    ("flags", "heard"),
    [
        ([], ["Warning: a warning", "a note", "progress"]),
        (["-q"], ["Warning: a warning"]),
        (["--quiet"], ["Warning: a warning"]),
        (["-v"], ["Warning: a warning", "a note", "a detail", "progress"]),
        (["--verbose"], ["Warning: a warning", "a note", "a detail", "progress"]),
        (["-v", "-q"], ["Warning: a warning"]),
        (["-qv"], ["Warning: a warning", "a note", "a detail", "progress"]),
    ],
)
def test_how_much_is_said(flags: list[str], heard: list[str]) -> None:
    result = CliRunner().invoke(speak, flags)
    assert result.stderr.splitlines() == heard
    assert result.stdout == "data\n"


def test_an_error_is_said_quietly_too(heed: Heed) -> None:
    assert heed("doctor", "-q", "-m", "nowhere").stderr == heed("doctor", "-m", "nowhere").stderr != ""


def test_outside_of_a_command_notes_are_said(capsys: pytest.CaptureFixture[str]) -> None:
    messages.note("a note")
    messages.detail("a detail")
    assert capsys.readouterr().err == "a note\n"


@pytest.mark.parametrize(
    ("flags", "environment", "colours"),
    [
        ([], {}, True),
        (["--no-color"], {}, False),
        ([], {"NO_COLOR": "1"}, False),
        ([], {"NO_COLOR": ""}, True),  # https://no-color.org: when it is not empty
    ],
)
def test_colours_are_for_a_terminal_that_wants_them(
    flags: list[str], environment: dict[str, str], colours: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # Rich's word for a terminal
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    result = CliRunner(env=environment).invoke(speak, flags)
    assert ("\x1b[31m" in result.stderr) == colours
    monkeypatch.delenv("FORCE_COLOR")
    assert "\x1b" not in CliRunner().invoke(speak, flags).stderr


def test_the_verbose_are_told_what_is_loaded(heed: Heed, bundle: Path, write_lines: Callable[..., str]) -> None:
    src = write_lines("src", ["1 2 3"])
    plain = ["evaluate", "--src", src, "--ref", src, "-m", bundle, "--max-length", 4, "--threads", 1]
    assert heed(*plain).stderr == ""
    loaded, translated = heed(*plain, "-v").stderr.splitlines()
    assert loaded.startswith(f"Loaded {bundle} for cpu in ")
    assert translated.startswith("Translated 1 lines in ")
    assert heed(*plain, "-v").stdout == heed(*plain).stdout


# What every command has


def leaves() -> list[click.Command]:
    """All commands, those of commands too."""
    found: list[click.Command] = []
    for name in COMMANDS:
        command = main.get_command(click.Context(main), name)
        assert command is not None
        found += command.commands.values() if isinstance(command, click.Group) else [command]
    return found


@pytest.mark.parametrize("command", leaves(), ids=lambda command: command.name)
def test_every_command_can_be_quiet(command: click.Command) -> None:
    assert {"-q", "-v", "--no-color"} <= {name for option in command.params for name in option.opts}


@pytest.mark.parametrize("command", [command for command in leaves() if isinstance(command, Command)])
def test_sections_name_options_that_there_are(command: Command) -> None:
    named = [name for names in command.sections.values() for name in names]
    assert len(named) == len(set(named))
    assert set(named) <= {option.name for option in command.params}


def test_a_missing_package_is_a_line() -> None:
    @click.command(cls=Command, extra="train")
    def lacking() -> None:
        importlib.import_module("no_such_package.module")

    with pytest.raises(HeedError, match=r" needs no_such_package, .* pip install '\.\[train\]'$"):
        lacking.main([], standalone_mode=False)


def test_a_missing_file_of_our_own_is_a_bug() -> None:
    @click.command(cls=Command, extra="train")
    def lacking() -> None:
        importlib.import_module("heed.no_such_module")

    with pytest.raises(ModuleNotFoundError):
        lacking.main([], standalone_mode=False)


def test_a_group_s_commands_have_the_form_too() -> None:
    @click.group(cls=Group)
    def several() -> None:
        """Some."""

    @several.command()
    def one() -> None:
        """One."""

    assert isinstance(one, Command)


def test_quiet_training_and_export_say_nothing(
    heed: Heed,
    write_lines: Callable[[str, list[str]], str],
    digit_lines: Callable[[int, int], list[str]],
    tmp_path: Path,
) -> None:
    text, run = write_lines("text", digit_lines(100, 2)), tmp_path / "run"
    network = ["--preset", "tiny", "--d-model", "16", "--d-ff", "24", "--n-heads", "2", "--vocab-size", "15"]
    limits = ["--steps", "2", "--valid-every", "2", "--precision", "float32", "--device", "cpu", "--threads", "1"]
    trained = heed("train", "--src", text, "--tgt", text, "-o", run, *network, *limits, "-q")
    exported = heed("export", run, "-o", tmp_path / "bundle", "-q")
    for result in (trained, exported):
        assert (result.exit_code, result.stdout, result.stderr) == (0, "", "")


def test_what_was_replaced_is_said_quietly_too(heed: Heed, bundle: Path) -> None:
    result = heed("translate", "-q", "-m", bundle, "--max-length", 4, "--threads", 1, stdin=b"1 \xff\n")
    assert result.exit_code == 0
    assert result.stderr.startswith("Warning: 1 lines were not UTF-8")
