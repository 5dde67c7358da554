"""How a command ends: refused, failed, or by Ctrl-C at the right moment."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
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


@contextlib.contextmanager
def held_back() -> Iterator[Callable[[], None]]:
    """Yields a function that raises ``KeyboardInterrupt`` if Ctrl-C was pressed by then.

    Raised where the program happens to stand, the exception may get lost: Python drops those of
    garbage-collection callbacks, and JAX has one. Or it may fall between two renames that belong
    together. After the last call of the function the work is done, and Ctrl-C comes too late.
    """
    pressed = threading.Event()

    def check() -> None:
        if pressed.is_set():
            raise KeyboardInterrupt

    previous = signal.signal(signal.SIGINT, lambda *_: pressed.set())
    try:
        yield check
    finally:
        signal.signal(signal.SIGINT, previous)
