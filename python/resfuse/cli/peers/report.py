"""The figures as tables, and in words where resfuse is not the fastest."""

import statistics
from collections.abc import Callable, Mapping
from functools import partial

from rich.console import Console
from rich.table import Table

from resfuse.cli import ratios
from resfuse.cli.peers.engines import ENGINES, libraries
from resfuse.cli.peers.results import Result, setting

_RATIO = "Ratio: the fastest peer over resfuse in each round; median, least and most."
_LIBRARIES = "The fastest of the library's engines over resfuse, as above."
_RATES = (
    "Direct-convolution FLOPs, padding left out; in brackets over the FMA peak of all threads, "
    "measured after each timing. Winograd needs fewer, and may pass 100 %."
)
_MEMORY = "The most that the process held, beyond what its runtime took before."

Columns = Mapping[str, Callable[[Result], str]]


def show(results: list[Result]) -> None:
    """Prints the tables and the verdict."""
    tables = _tables(results)
    unlimited, console = Console(width=1000), Console()
    # Where the output is no terminal, rich would cut the tables at 80 columns.
    console.width = max(console.width, *(unlimited.measure(each).maximum for each in tables))
    for table in tables:
        console.print(table, "", sep="\n")
    console.print("\n".join(verdict(results)), soft_wrap=True, highlight=False)


def verdict(results: list[Result]) -> list[str]:
    """The cases that resfuse loses, or that there are none."""
    lost = [each for each in results if each.ratio < 1]
    if not lost:
        return [f"resfuse is the fastest on {len(results)} of {len(results)} cases."]
    lines = [f"resfuse is slower than the fastest peer on {len(lost)} of {len(results)} cases:"]
    for each in lost:
        heading = _heading(each.best_peer)
        times = f"{heading} {each.milliseconds[each.best_peer]:.1f} ms"
        spread = ratios.spread(each.ratios)
        lines.append(f"  {each.case.name}: ratio {each.ratio:.2f} ({spread}), {times}")
    return lines


def failures(results: list[Result]) -> list[str]:
    """A line for each engine whose answers are not resfuse's."""
    return [
        f"{name} and resfuse disagree on {each.case.name}: the {each.task.answers} differ by "
        f"{each.differences[name]:.1e} of the largest one"
        for each in results
        for name in each.disagreeing
    ]


def _tables(results: list[Result]) -> list[Table]:
    task = results[0].task
    first = f"From the files to the first {task.answer}: reading, compiling, and one {task.call}."
    difference = f"Of the largest; beyond {task.tolerance:g} the comparison has failed."
    return [
        _times(results),
        _table("Ratio by library", _LIBRARIES, results, _by_library(results)),
        _table("GFLOP/s", _RATES, results, _by_engine(results, _rate)),
        _table(
            "Peak memory, MiB",
            _MEMORY,
            results,
            _by_engine(results, lambda name, each: f"{each.megabytes[name]:.0f}"),
        ),
        _table(
            "Seconds to the first result",
            first,
            results,
            _by_engine(results, lambda name, each: f"{each.first[name]:.2f}"),
        ),
        _table(
            f"Largest difference of the {task.answers} from resfuse's",
            difference,
            results,
            _by_engine(results, _difference),
        ),
    ]


def _times(results: list[Result]) -> Table:
    return _table(
        f"Milliseconds a {results[0].task.call}: {setting()}",
        _RATIO,
        results,
        {
            **_by_engine(results, lambda name, each: f"{each.milliseconds[name]:.1f}"),
            "Ratio": lambda each: f"{each.ratio:.2f}",
            "Spread": lambda each: ratios.spread(each.ratios),
            "Fastest peer": lambda each: _heading(each.best_peer),
        },
    )


def _rate(name: str, result: Result) -> str:
    return f"{result.rates[name]:.0f} ({result.shares_of_peak[name]:.0%})"


def _difference(name: str, result: Result) -> str:
    return f"{result.differences[name]:.1e}" if name in result.differences else ""


def _by_engine(results: list[Result], cell: Callable[[str, Result], str]) -> Columns:
    return {ENGINES[name].heading: partial(cell, name) for name in results[0].engines}


def _by_library(results: list[Result]) -> Columns:
    def cell(library: str, result: Result) -> str:
        found = result.ratios_by_library[library]
        return f"{statistics.median(found):.2f} ({ratios.spread(found)})"

    return {library: partial(cell, library) for library in libraries(results[0].engines)}


def _table(title: str, caption: str, results: list[Result], columns: Columns) -> Table:
    """One row a case."""
    table = Table(title=title, caption=caption, box=None)
    table.add_column("Case", no_wrap=True)
    for heading in columns:
        table.add_column(heading, justify="right", no_wrap=True)
    for each in results:
        table.add_row(each.case.name, *(cell(each) for cell in columns.values()))
    return table


def _heading(name: str) -> str:
    return ENGINES[name].heading.replace("\n", " ")
