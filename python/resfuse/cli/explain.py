"""``resfuse explain``: where the time of a network goes, layer by layer."""

import csv
import dataclasses
import json
import sys
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from resfuse.cli.ending import refuse
from resfuse.cli.info import why_not_live
from resfuse.cli.published import CHANNELS, load_network
from resfuse.cli.timing import Layer, Timings, measure
from resfuse.fusion.explain import Row
from resfuse.kernel import extension

_ABOUT = (
    "Each row is one call of the kernel, compiled and timed by itself with random images; "
    "the sum leaves out what is left to XLA. In the whole network "
    "images may go through layers a few at a time, so that the sum can be larger."
)

_UNLIMITED = 10_000  # letters in a line, more than any table has


def run(weights: str, batch: int, size: int | None, rounds: int, form: str) -> None:
    """Prints each convolution and pooling of a network, and how long it takes."""
    if reason := why_not_live():
        refuse(f"the kernel is not live: {reason}")
    network = load_network(weights, in_channels=CHANNELS)
    size = size or network.preprocess.size
    images = jnp.zeros((batch, size, size, CHANNELS))
    try:
        jax.eval_shape(network, images)
    except (ArithmeticError, ValueError, TypeError) as error:  # its strides leave nothing of them
        refuse(f"--size {size}: {str(error).splitlines()[0]}")
    _PRINTERS[form](measure(lambda images: network(images), images, rounds))


def _print_table(timings: Timings) -> None:
    """With a column for each fact if there is room, else with two."""
    console = Console(markup=False, highlight=False)
    wide = _wide(timings)
    room = console.options.update(max_width=_UNLIMITED)
    fits = Measurement.get(console, room, wide).maximum <= console.width
    console.print(wide if fits else _narrow(timings))
    whole, layers = timings.whole, timings.sum
    isa = f"{len(timings.layers)} calls ({extension.isa()})"
    console.print(f"{1e3 * whole:.2f} ms the whole network; {1e3 * layers:.2f} ms the sum of {isa}")
    console.print(_ABOUT)


def _facts(row: Row) -> dict[str, str]:
    """What a table says of a row, without what says nothing."""
    facts = {
        "images": row.x,
        "kernel": row.kernel,
        "strides": row.strides,
        "dilation": row.dilation,
        "groups": row.groups,
        "fused": row.fused,
        "algorithm": row.algorithm,
    }
    ones = {"1", "1x1", "1x1x1"}
    silent = {"strides": ones, "dilation": ones, "groups": ones, "fused": {"-"}}
    return {name: "" if fact in silent.get(name, ()) else fact for name, fact in facts.items()}


def _wide(timings: Timings) -> Table:
    layers = [_facts(layer.row) for layer in timings.layers]
    names = [name for name in _facts(timings.layers[0].row) if any(each[name] for each in layers)]
    table = _table()
    for name in names:
        table.add_column(name, no_wrap=True)
    for layer, facts in zip(timings.layers, layers, strict=True):
        table.add_row(*_numbers(layer, timings), *(Text(facts[name]) for name in names))
    return table


def _narrow(timings: Timings) -> Table:
    table = _table()
    table.add_column("layer", overflow="fold")
    labels = {"strides": "strides ", "dilation": "dilation ", "groups": "groups "}
    for layer in timings.layers:
        facts = (labels.get(k, "") + v for k, v in _facts(layer.row).items() if v)
        table.add_row(*_numbers(layer, timings), Text(", ".join(facts)))
    return table


def _table() -> Table:
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    table.add_column("ms", justify="right", no_wrap=True)
    table.add_column("%", justify="right", no_wrap=True)
    return table


def _numbers(layer: Layer, timings: Timings) -> tuple[str, str]:
    """Milliseconds, and the share of the sum."""
    return f"{1e3 * layer.seconds:.2f}", f"{100 * layer.seconds / (timings.sum or 1):.1f}"


def _fields(layer: Layer) -> dict[str, str | float]:
    row = {field.name: getattr(layer.row, field.name) for field in dataclasses.fields(Row)[1:]}
    return {"milliseconds": float(f"{1e3 * layer.seconds:.4g}"), **row}


def _print_json(timings: Timings) -> None:
    """One object: of the network, and of each layer in it."""
    print(
        json.dumps(
            {
                "isa": extension.isa(),
                "milliseconds": float(f"{1e3 * timings.whole:.4g}"),
                "sum_of_layers": float(f"{1e3 * timings.sum:.4g}"),
                "layers": list(map(_fields, timings.layers)),
            },
            indent=2,
        )
    )


def _print_csv(timings: Timings) -> None:
    """One line for each layer."""
    lines = list(map(_fields, timings.layers))
    writer = csv.DictWriter(sys.stdout, list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)


_PRINTERS: Mapping[str, Callable[[Timings], None]] = {
    "table": _print_table,
    "json": _print_json,
    "csv": _print_csv,
}
