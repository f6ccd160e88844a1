"""`heed completion`."""

import click
from click.shell_completion import get_completion_class

from heed.cli.command import Command


@click.command(cls=Command)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(ctx: click.Context, /, shell: str) -> None:
    """Print the shell script that completes commands.

    \b
    heed completion bash > ~/.local/share/bash-completion/completions/heed
    heed completion fish > ~/.config/fish/completions/heed.fish
    source <(heed completion zsh)        # a line of ~/.zshrc, after compinit

    New shells then complete commands, options, files and model names.
    """
    completion = get_completion_class(shell)
    assert completion is not None
    click.echo(completion(ctx.find_root().command, {}, "heed", "_HEED_COMPLETE").source().strip())
