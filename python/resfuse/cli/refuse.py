"""How a command says that it cannot do what it was asked for."""

from typing import NoReturn

import typer


def refuse(message: str) -> NoReturn:
    """Ends the command with one line on standard error and exit code 2."""
    typer.echo(f"resfuse: {message}", err=True)
    raise typer.Exit(2)


def fail(message: str) -> NoReturn:
    """Ends the command, which had begun its work, with one line on standard error and code 1."""
    typer.echo(f"resfuse: {message}", err=True)
    raise typer.Exit(1)
