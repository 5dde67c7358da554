"""``resfuse bench``: the op and the basic block against plain Flax, engines taking turns."""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from resfuse import ffi
from resfuse._cli import bench_plot, results
from resfuse._cli.cases import CASES, Case
from resfuse._cli.engines import OURS, workers
from resfuse._cli.files import publish, staging
from resfuse._cli.interrupts import held_back
from resfuse._cli.refuse import refuse
from resfuse._cli.results import Result, Results
from resfuse._cli.turns import take_turns


def run(
    threads: int | None, rounds: int, text: str, json_file: Path | None, plot_file: Path | None
) -> None:
    """Measures the cases whose name holds ``text``, prints a table and writes the files."""
    cases = [case for case in CASES if text in case.name]
    if not cases:
        refuse(f"no case holds {text!r}; there are {', '.join(case.name for case in CASES)}")
    cpus = len(os.sched_getaffinity(0))
    if threads and threads > cpus:
        refuse(f"--threads {threads}: there are {cpus} CPUs for this process")
    if not ffi.available():
        refuse(f"nothing to measure, the kernel is not live: {ffi.unavailable_reason()}")
    if plot_file and plot_file.suffix.lower() not in bench_plot.SUFFIXES:
        refuse(f"--plot {plot_file}: the name must end in one of {', '.join(bench_plot.SUFFIXES)}")

    writers = {json_file: results.write, plot_file: bench_plot.draw}
    with held_back() as check, contextlib.ExitStack() as stack:
        places = {file: stack.enter_context(staging(file.parent)) for file in writers if file}
        for file in places:
            if file.is_dir():
                refuse(f"cannot write to {file}: it is a directory")
        measured = _measure(cases, rounds, threads or cpus, check)
        for file, scratch in places.items():
            writers[file](scratch / file.name, measured)
            publish(scratch, file)
    Console().print(results.table(measured))


def _measure(cases: list[Case], rounds: int, threads: int, check: Callable[[], None]) -> Results:
    measured = []
    progress = Progress(console=Console(stderr=True))
    with progress, workers(threads) as engines:
        for case in progress.track(cases, description="Measuring"):
            take_turns(engines, case, 1, check)  # compiles and warms up
            turns = take_turns(engines, case, rounds, check)
            seconds = {name: [turn[name]["seconds"] for turn in turns] for name in engines}
            peaks = [turn[OURS]["peak"] for turn in turns]
            measured.append(Result(case, threads, seconds, peaks))
    return Results(threads, measured)
