"""What every benchmark's command does around its measurement."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import typer
from rich.console import Console
from rich.progress import Progress

from resfuse import ffi
from resfuse.cli.bench import plot, report
from resfuse.cli.bench.record import Record
from resfuse.cli.bench.results import Result
from resfuse.cli.ending import held_back, refuse
from resfuse.cli.files import publish, staging
from resfuse.cli.machine import cpus

Check = Callable[[], None]


def run(
    measure: Callable[[Check], Iterator[Result]],
    count: int,
    json_file: Path | None,
    plot_file: Path | None,
) -> None:
    """Shows how ``count`` cases are measured, prints the tables and writes the files.

    Ends with code 1 if an engine's answers are not resfuse's: then its times say nothing.
    """
    progress = Progress(console=Console(stderr=True))
    with held_back() as check, _outputs(json_file, plot_file) as write:
        with progress:
            steps = progress.track(measure(check), total=count, description="Measuring")
            record = Record.here_and_now(list(steps))
        write(record)
    report.show(record)
    for line in (failures := report.failures(record.results)):
        typer.echo(f"resfuse: {line}", err=True)
    if failures:
        raise typer.Exit(1)


def count_cpus(threads: int | None) -> int:
    """The CPUs of this process; refuses if they are fewer than the threads, or cannot run ours."""
    count = cpus()
    if threads and threads > count:
        refuse(f"--threads {threads}: there are {count} CPUs for this process")
    if not ffi.available():
        refuse(f"nothing to measure, the kernel is not live: {ffi.unavailable_reason()}")
    return count


@contextlib.contextmanager
def _outputs(json_file: Path | None, plot_file: Path | None) -> Iterator[Callable[[Record], None]]:
    """Yields what writes the files that are asked for; whether it can is found out before."""
    if plot_file and plot_file.suffix.lower() not in plot.SUFFIXES:
        refuse(f"--plot {plot_file}: the name must end in one of {', '.join(plot.SUFFIXES)}")
    writers = {json_file: Record.write, plot_file: plot.draw}
    with contextlib.ExitStack() as stack:
        places = {file: stack.enter_context(staging(file.parent)) for file in writers if file}
        for file in places:
            if file.is_dir():
                refuse(f"cannot write to {file}: it is a directory")

        def write(record: Record) -> None:
            for file, scratch in places.items():
                writers[file](record, scratch / file.name)
                publish(scratch, file)

        yield write
