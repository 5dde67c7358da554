"""The entry point of the command ``resfuse``."""

import sys
from importlib.util import find_spec

__all__ = ["main"]

_EXTRA = ("typer", "rich", "matplotlib", "sklearn")


def main() -> None:
    """Runs the command line, or says how to install what it needs."""
    missing = [name for name in _EXTRA if find_spec(name) is None]
    if missing:
        sys.exit(f"resfuse: {', '.join(missing)} not installed: pip install 'resfuse[cli]'")
    # Imported here, because its packages belong to the extra that was looked for above.
    from resfuse._cli.app import app

    app()


if __name__ == "__main__":
    main()
