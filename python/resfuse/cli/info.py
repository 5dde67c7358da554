"""``resfuse info``: what is installed, and what runs here."""

import os
from importlib.metadata import version

import jax
from rich.console import Console
from rich.table import Table

import resfuse
from resfuse.kernel import extension


def run() -> None:
    """Prints one row for each fact."""
    table = Table(show_header=False, box=None)
    for name, value in _facts().items():
        table.add_row(name, value)
    Console(markup=False).print(table)


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


def why_not_live(implementation: str | None = None) -> str | None:
    """Why the op, called with this implementation, runs as plain XLA; ``None`` if it does not."""
    if implementation == "xla":
        return "implementation 'xla' is plain Flax"
    if not extension.available():
        return extension.unavailable_reason()
    if jax.default_backend() != "cpu":
        return f"JAX runs on {jax.default_backend()}, and the kernel is for CPUs"
    return None


def threads() -> int:
    """The size of XLA's pool on a CPU, by XLA's own rule."""
    asked = os.environ.get("NPROC", "")
    return int(asked) if asked.isdigit() and int(asked) else len(os.sched_getaffinity(0))
