"""The figures as tables, and in words where resfuse is not the fastest."""

import statistics
from collections.abc import Callable, Mapping
from functools import partial

from rich.console import Console
from rich.table import Table

from resfuse.cli.bench.results import Result, setting

Columns = Mapping[str, Callable[[Result], str]]

_RATIO = "Ratio: the fastest peer over resfuse in each round; median, least and most."
_RATES = (
    "Direct-convolution FLOPs, padding left out; in brackets over the FMA peak of all threads, "
    "measured after each timing. Winograd needs fewer, and may pass 100 %."
)


def show(tables: list[Table], results: list[Result]) -> None:
    """Prints the tables and the verdict."""
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
        best = each.best_peer
        times = f"{each.engines[best].title} {each.milliseconds[best]:.3g} ms"
        lines.append(f"  {each.case.name}: ratio {ratio(each.ratios)}, {times}")
    return lines


def failures(results: list[Result]) -> list[str]:
    """A line for each engine whose answers are not resfuse's."""
    return [
        f"{name} and resfuse disagree on {each.case.name}: the {each.task.answers} differ by "
        f"{each.differences[name]:.1e} of the largest one"
        for each in results
        for name in each.disagreeing
    ]


def timings(results: list[Result]) -> list[Table]:
    """Milliseconds, and the rates that follow from them."""
    columns = {
        **by_engine(results, lambda name, each: f"{each.milliseconds[name]:.{_digits(each)}f}"),
        "Ratio": lambda each: f"{each.ratio:.2f}",
        "Spread": lambda each: _spread(each.ratios),
        "Fastest peer": lambda each: each.engines[each.best_peer].title,
    }
    title = f"Milliseconds a {results[0].task.call}: {setting()}"
    return [
        table(title, _RATIO, results, columns),
        table("GFLOP/s", _RATES, results, by_engine(results, _rate)),
    ]


def table(title: str, caption: str, results: list[Result], columns: Columns) -> Table:
    """One row a case."""
    table = Table(title=title, caption=caption, box=None)
    table.add_column("Case", no_wrap=True)
    for heading in columns:
        table.add_column(heading, justify="right", no_wrap=True)
    for each in results:
        table.add_row(each.case.name, *(cell(each) for cell in columns.values()))
    return table


def by_engine(results: list[Result], cell: Callable[[str, Result], str]) -> Columns:
    """A column for each engine."""
    engines = results[0].engines
    return {engine.heading: partial(cell, name) for name, engine in engines.items()}


def ratio(ratios: list[float]) -> str:
    """``1.05 (0.97-1.12)``: the median, the least and the most."""
    return f"{statistics.median(ratios):.2f} ({_spread(ratios)})"


def _spread(ratios: list[float]) -> str:
    return f"{min(ratios):.2f}-{max(ratios):.2f}"


def _digits(result: Result) -> int:
    """After the point: layers take less than a millisecond."""
    return 1 if min(result.milliseconds.values()) >= 3 else 3


def _rate(name: str, result: Result) -> str:
    return f"{result.rates[name]:.0f} ({result.shares_of_peak[name]:.1%})"
