"""``resfuse bench --peers``: whole networks beside the engines that people use instead."""

from pathlib import Path

import typer
from rich.console import Console
from rich.progress import Progress

from resfuse.cli.bench_checks import count_cpus, outputs
from resfuse.cli.interrupts import held_back
from resfuse.cli.peers import plot, report, results
from resfuse.cli.peers.measure import measure
from resfuse.cli.peers.options import choose_cases, choose_engines
from resfuse.cli.peers.tasks import Task
from resfuse.cli.refuse import refuse


def run(
    task: Task,
    models: str | None,
    batches: str | None,
    threads: int | None,
    engines: str | None,
    rounds: int,
    text: str,
    json_file: Path | None,
    plot_file: Path | None,
) -> None:
    """Measures what is chosen, by default everything; prints tables and writes the files.

    Ends with code 1 if an engine's answers are not resfuse's: then its times say nothing.
    """
    if text:
        refuse("--filter is for layers; with --peers take --models, --batches and --engines")
    cases = choose_cases(task, models, batches, threads, count_cpus(threads))
    chosen = choose_engines(task, engines)
    progress = Progress(console=Console(stderr=True))
    with (
        held_back() as check,
        outputs(json_file, results.write, plot_file, plot.draw) as publish,
    ):
        with progress:
            steps = measure(task, cases, chosen, rounds, check)
            measured = list(progress.track(steps, total=len(cases), description="Measuring"))
        publish(measured)
    report.show(measured)
    for line in (failures := report.failures(measured)):
        typer.echo(f"resfuse: {line}", err=True)
    if failures:
        raise typer.Exit(1)
