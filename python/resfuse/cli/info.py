"""``resfuse info``: what is installed, and what runs here."""

import json
import platform
from importlib.metadata import version

import jax
import typer
from rich.console import Console
from rich.table import Table

import resfuse
from resfuse.cli.machine import caches, cpus, processor, threads
from resfuse.kernel import extension


def run(*, as_json: bool) -> None:
    """Prints one row for each fact, or one object of them."""
    facts = _facts()
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
        return
    table = Table(show_header=False, box=None)
    for name, value in facts.items():
        text = ", ".join(value) if isinstance(value, list) else str(value or "")
        table.add_row(name, text or "-")
    Console(markup=False).print(table)


def _facts() -> dict[str, str | int | list[str] | None]:
    """By their names in the table, which are those of the object as well."""
    built = extension.API_VERSION
    not_live = why_not_live()
    return {
        "resfuse": resfuse.__version__,
        "kernel": f"not live: {not_live}" if not_live else "live",
        "ISAs found": list(extension.isas()),
        "ISA in use": extension.isa(),
        "threads": threads(),
        "built against FFI": ".".join(map(str, built)) if built else None,
        **{name: version(name) for name in ("jax", "jaxlib", "flax", "numpy")},
        "devices": [str(device) for device in jax.devices()],
        "python": platform.python_version(),
        "system": platform.platform(),
        "processor": processor(),
        "CPUs": cpus(),
        "caches": caches(),
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
