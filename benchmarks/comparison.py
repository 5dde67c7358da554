"""The comparison of engines on whole networks: its command, and its measurement."""

import contextlib
import dataclasses
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated

import typer

from models import gflop
from options import Comparison, choose_engines, choose_networks
from prepared import Prepared, prepare
from resfuse.cli.bench import command
from resfuse.cli.bench.results import Case, Result
from resfuse.cli.bench.turns import Measurement


def app(comparison: Comparison, purpose: str | None) -> typer.Typer:
    """The command: it measures what its options choose, by default everything."""

    def run(
        models: Annotated[str | None, typer.Option(help="As in ResNet18,ResNet50.")] = None,
        batches: Annotated[str | None, typer.Option(help="By default each model's.")] = None,
        engines: Annotated[str | None, typer.Option(help="As in flax,openvino.")] = None,
        against: Annotated[
            str | None,
            typer.Option(help="A Python that has another version of resfuse, to compare with."),
        ] = None,
        isa: Annotated[
            str | None,
            typer.Option(help="Keep every engine to it, as in avx2; what cannot be is left out."),
        ] = None,
        threads: Annotated[
            int | None, typer.Option(min=1, help="CPUs for every engine; by default all.")
        ] = None,
        rounds: Annotated[int, typer.Option(min=1, help="Timings of each engine.")] = 5,
        json: Annotated[Path | None, typer.Option(help="Write every timing to it.")] = None,
        plot: Annotated[Path | None, typer.Option(help="Draw the result into it.")] = None,
    ) -> None:
        cpus = command.count_cpus(threads)
        networks = choose_networks(comparison, models, batches)
        chosen = choose_engines(comparison, engines, against, isa)

        def steps(check: command.Check) -> Iterator[Result]:
            here = str(Path(__file__).parent)
            measurement = Measurement(comparison.task, chosen, rounds, check, here)
            return measure(comparison, networks, threads or cpus, measurement)

        command.run(steps, len(networks), json, plot)

    made = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    made.command(help=purpose)(run)
    return made


def measure(
    comparison: Comparison,
    networks: Iterable[tuple[str, int]],
    threads: int,
    measurement: Measurement,
) -> Iterator[Result]:
    """Measures models at batch sizes, in fresh processes; those of one follow one another."""
    last, exports = "", any("onnx" in each.packages for each in measurement.engines.values())
    with contextlib.ExitStack() as stack:
        for name, batch in networks:
            if name != last:
                stack.close()  # the files of the model before
                last = name
                folder = stack.enter_context(tempfile.TemporaryDirectory())
                prepared = prepare(folder, comparison.models[name])
            if exports:
                _export(prepared, batch)
            work = gflop(prepared.model, batch, trains=comparison.trains)
            case = Case(name, f"batch {batch}", threads, work)
            with measurement.start(threads) as workers:
                result = measurement.measure(case, workers, folder, batch, threads)
                timings = {
                    name: dataclasses.replace(each, mebibytes=workers[name].ask("memory"))
                    for name, each in result.timings.items()
                }
            yield dataclasses.replace(result, timings=timings)


def _export(prepared: Prepared, batch: int) -> None:
    # It is imported here, because torch is no need of the engines that read no ONNX.
    from engines.torch import export

    export(prepared, batch)
