"""The command ``resfuse``: its entry point; ``app.py`` holds its options."""

import sys
from importlib.util import find_spec

__all__ = ["main"]

_EXTRA = ("typer", "rich", "matplotlib", "sklearn", "grain")
_TRAIN_EXTRA = ("datasets", "tensorboardX")


def main() -> None:
    """Runs the command line, or says how to install what it needs."""
    missing = [name for name in _EXTRA if find_spec(name) is None]
    if missing:
        sys.exit(f"resfuse: {', '.join(missing)} not installed: pip install 'resfuse[cli]'")
    # Imported here, because its packages belong to the extra that was looked for above.
    from resfuse.cli.app import app

    try:
        app()
    except ModuleNotFoundError as error:
        package = str(error.name).partition(".")[0]
        if package not in _TRAIN_EXTRA:
            raise
        sys.exit(f"resfuse: {package} not installed: pip install 'resfuse[train]'")
