"""An option that may be repeated takes several values, as a shell makes them of `--text *.txt`."""

import click
import pytest
from click.testing import CliRunner

from heed.cli.command import Command


@click.command(cls=Command)
@click.option("--text", multiple=True)
@click.option("-o", "--output")
@click.option("--flag", is_flag=True)
def command(text: tuple[str, ...], output: str | None, flag: bool) -> None:
    click.echo(f"{' '.join(text)}|{output}|{flag}")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--text", "a", "b", "-o", "x"], "a b|x|False"),
        (["--text", "a", "--text", "b", "c", "--flag"], "a b c|None|True"),
        (["-o", "x", "--text", "-", "b"], "- b|x|False"),
        (["--text=a", "--text", "b"], "a b|None|False"),
    ],
)
def test_the_values_up_to_the_next_option_are_its(arguments: list[str], expected: str) -> None:
    result = CliRunner().invoke(command, arguments)
    assert result.output == f"{expected}\n"


def test_what_may_not_be_repeated_takes_one() -> None:
    result = CliRunner().invoke(command, ["-o", "x", "y"])
    assert result.exit_code == 2
    assert "unexpected extra argument (y)" in result.stderr
