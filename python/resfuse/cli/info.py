"""``resfuse info``: what is installed, and what runs here."""

import os
from importlib.metadata import version

import jax
from rich.console import Console
from rich.table import Table

import resfuse
from resfuse.cli.kernel import why_not_live
from resfuse.kernel import extension


def run() -> None:
    """Prints one row for each fact."""
    table = Table(show_header=False, box=None)
    for name, value in _facts().items():
        table.add_row(name, value)
    Console().print(table)


def _facts() -> dict[str, str]:
    built = extension.API_VERSION
    not_live = why_not_live()
    return {
        "resfuse": resfuse.__version__,
        "kernel": f"not live: {not_live}" if not_live else "live",
        "ISAs found": ", ".join(extension.isas()) or "-",
        "ISA in use": extension.isa() or "-",
        "threads": str(threads()),
        "built against FFI": ".".join(map(str, built)) if built else "-",
        "jax": version("jax"),
        "jaxlib": version("jaxlib"),
        "flax": version("flax"),
        "devices": ", ".join(map(str, jax.devices())),
    }


def threads() -> int:
    """The size of XLA's pool on a CPU, by XLA's own rule."""
    asked = os.environ.get("NPROC", "")
    return int(asked) if asked.isdigit() and int(asked) else len(os.sched_getaffinity(0))
