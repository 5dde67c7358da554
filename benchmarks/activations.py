"""Networks with their activations in the kernel, beside the same with these left to XLA."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from options import choose, parse_batches
from resfuse.cli.bench import command
from resfuse.cli.bench.results import OURS, Case, Engine, Result, Task
from resfuse.cli.bench.turns import Measurement

NETWORKS = ("MobileNetV2", "MobileNetV3Large", "EfficientNetB0")
_MODULE = "engines.activations"
ENGINES = {
    OURS: Engine("resfuse", OURS, _MODULE, "fuse"),
    "left": Engine("resfuse, activations by XLA", "resfuse, activations by XLA", _MODULE, "left"),
    "xla": Engine("JAX", "JAX", _MODULE, "xla"),
}
TASK = Task("inference", "call", "logits", calls=1, tolerance=1e-3, at_least=0.2)


def main(
    models: Annotated[str, typer.Option(help="As in MobileNetV2,EfficientNetB0.")] = ",".join(
        NETWORKS
    ),
    engines: Annotated[str, typer.Option(help="Beside resfuse.")] = "left,xla",
    batches: Annotated[str, typer.Option(help="As in 1,8.")] = "1,8",
    threads: Annotated[int | None, typer.Option(min=1, help="CPUs; by default all.")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Timings of each engine.")] = 7,
    json: Annotated[Path | None, typer.Option(help="Write every timing to it.")] = None,
) -> None:
    """Measures networks at 224x224, each engine in a process of its own."""
    count = threads or command.count_cpus(threads)
    names = choose("--models", models, NETWORKS)
    others = choose("--engines", engines, [name for name in ENGINES if name != OURS])
    chosen = {name: ENGINES[name] for name in (OURS, *others)}
    sizes = parse_batches(batches)
    cases = [(name, size) for name in names for size in sizes]

    def measure(check: command.Check) -> Iterator[Result]:
        here = str(Path(__file__).parent)
        measurement = Measurement(TASK, chosen, rounds, check, here)
        for name, batch in cases:
            with measurement.start(count) as workers:
                case = Case(name, f"batch {batch}", count, 0.0)
                yield measurement.measure(case, workers, name, batch)

    command.run(measure, len(cases), json, None)


if __name__ == "__main__":
    typer.run(main)
