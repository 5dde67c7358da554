"""``resfuse bench``: the op and the basic block against plain Flax, engines taking turns."""

from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from resfuse.cli import bench_plot, results
from resfuse.cli.bench_checks import count_cpus, outputs
from resfuse.cli.cases import CASES, Case
from resfuse.cli.engines import OURS, workers
from resfuse.cli.interrupts import held_back
from resfuse.cli.refuse import refuse
from resfuse.cli.results import Result, Results
from resfuse.cli.turns import take_turns


def run(
    threads: int | None,
    rounds: int,
    text: str,
    json_file: Path | None,
    plot_file: Path | None,
) -> None:
    """Measures the cases whose name holds ``text``, prints a table and writes the files."""
    cases = [case for case in CASES if text in case.name]
    if not cases:
        refuse(f"no case holds {text!r}; there are {', '.join(case.name for case in CASES)}")
    cpus = count_cpus(threads)
    with (
        held_back() as check,
        outputs(json_file, results.write, plot_file, bench_plot.draw) as publish,
    ):
        measured = _measure(cases, rounds, threads or cpus, check)
        publish(measured)
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
