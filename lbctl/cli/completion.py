"""`lbctl completion bash|zsh|fish`: the script that makes a shell complete lbctl's words.

The script is click's; it calls `lbctl` again with _LBCTL_COMPLETE set. Kubectl has its own way to
complete plug-ins, so the script is for the name `lbctl` whatever name this was called by.
"""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from lbctl.cli.main import COMPLETE_VARIABLE, root


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of SHELL.

    Bash: eval "$(lbctl completion bash)" in ~/.bashrc (Bash 4.4 or newer). Zsh: the same with
    zsh in ~/.zshrc, after compinit. Fish: lbctl completion fish >
    ~/.config/fish/completions/lbctl.fish
    """
    script = get_completion_class(shell)
    assert script is not None, "click knows the three shells"
    print(script(root, {}, "lbctl", COMPLETE_VARIABLE).source())
