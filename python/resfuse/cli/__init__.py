"""The command ``resfuse``: its entry point; ``app.py`` holds its options."""

import errno
import os
import signal
import sys
from importlib.util import find_spec

__all__ = ["main"]

_EXTRA = ("typer", "rich", "matplotlib", "sklearn", "grain", "optax", "orbax", "PIL")
_TRAIN_EXTRA = ("datasets", "tensorboardX")


def main() -> None:
    """Runs the command line, or says in one line why it cannot run or cannot write."""
    # Until a command has something to lose, Ctrl-C ends the process at once. The exception that
    # Python raises instead is dropped inside a callback of the garbage collector, and JAX has one.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    missing = [name for name in _EXTRA if find_spec(name) is None]
    if missing:
        sys.exit(f"resfuse: {', '.join(missing)} not installed: pip install 'resfuse[cli]'")
    if sys.stdout is None:
        sys.exit("resfuse: standard output is closed")
    try:
        _run()
    except OSError as error:
        # What could not be written is tried again when the interpreter ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if error.errno == errno.EPIPE:  # whoever read it has seen enough
            sys.exit(1)
        what = error.filename or "cannot write"
        sys.exit(f"resfuse: {what}: {error.strerror or error}")


def _run() -> None:
    # Imported here, because its packages belong to the extra that was looked for before.
    from resfuse.cli.app import app

    try:
        app()
    except ModuleNotFoundError as error:
        package = str(error.name).partition(".")[0]
        if package not in _TRAIN_EXTRA:
            raise
        sys.exit(f"resfuse: {package} not installed: pip install 'resfuse[train]'")
    finally:
        sys.stdout.flush()
