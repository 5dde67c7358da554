"""The comparison of engines on whole networks: its options, its processes, its tables."""

import contextlib
import dataclasses
import functools
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from models import gflop
from options import Comparison, Network, choose_engines, choose_networks
from prepared import Prepared, prepare
from resfuse.cli.bench import command, report
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
        threads: Annotated[int | None, typer.Option(min=1, help="CPUs for every engine.")] = None,
        rounds: Annotated[int, typer.Option(min=1, help="Timings of each engine.")] = 5,
        json: Annotated[Path | None, typer.Option(help="Write every timing to it.")] = None,
        plot: Annotated[Path | None, typer.Option(help="Draw the result into it.")] = None,
    ) -> None:
        cpus = command.count_cpus(threads)
        networks = choose_networks(comparison, models, batches, threads, cpus)
        chosen = choose_engines(comparison, engines, against)

        def measure_all(check: command.Check) -> Iterator[Result]:
            here = str(Path(__file__).parent)
            return measure(
                comparison, networks, Measurement(comparison.task, chosen, rounds, check, here)
            )

        command.run(measure_all, len(networks), json, plot, tables)

    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    app.command(help=purpose)(run)
    return app


def measure(
    comparison: Comparison, networks: Iterable[Network], measurement: Measurement
) -> Iterator[Result]:
    """Measures network by network, in fresh processes; those of one model follow one another."""
    model, exports = "", any("onnx" in each.packages for each in measurement.engines.values())
    with contextlib.ExitStack() as stack:
        for network in networks:
            if network.model != model:
                stack.close()  # the files of the model before
                model = network.model
                folder = stack.enter_context(tempfile.TemporaryDirectory())
                prepared = prepare(folder, comparison.models[model])
            if exports:
                _export(prepared, network.batch)
            work = gflop(prepared.model, network.batch, trains=comparison.trains)
            case = Case(model, f"batch {network.batch}", network.threads, work)
            with measurement.start(network.threads) as workers:
                result = measurement.measure(case, workers, folder, *network[1:])
                memory = {name: each.ask("memory") for name, each in workers.items()}
            yield dataclasses.replace(result, megabytes=memory)


def _export(prepared: Prepared, batch: int) -> None:
    # It is imported here, because torch is no need of the engines that read no ONNX.
    from engines.torch import export

    if not prepared.onnx(batch).exists():
        export(prepared, batch)


def tables(results: list[Result]) -> list[Table]:
    """Those of every benchmark, and what else there is to know of whole networks."""
    task = results[0].task
    more: dict[str, tuple[str, report.Columns]] = {
        "Ratio by library": (
            "The fastest of the library's engines over resfuse, as above.",
            {name: functools.partial(_library, name) for name in results[0].libraries},
        ),
        "Peak memory, MiB": (
            "The most that the process held, beyond what its runtime took before.",
            report.by_engine(results, lambda name, each: f"{each.megabytes[name]:.0f}"),
        ),
        "Seconds to the first result": (
            f"From the files to the end of the first {task.call}: reading and compiling are in it.",
            report.by_engine(results, lambda name, each: f"{each.first[name]:.2f}"),
        ),
        f"Largest difference of the {task.answers} from resfuse's": (
            f"Of the largest; beyond {task.tolerance:g} the comparison has failed.",
            report.by_engine(results, _difference),
        ),
    }
    return [
        *report.timings(results),
        *(report.table(title, note, results, columns) for title, (note, columns) in more.items()),
    ]


def _library(name: str, result: Result) -> str:
    return report.ratio(result.ratios_to(result.libraries[name]))


def _difference(name: str, result: Result) -> str:
    return f"{result.differences[name]:.1e}" if name in result.differences else ""
