"""The figures as tables, and in words where answers disagree."""

import statistics

from rich.console import Console
from rich.table import Table

from resfuse.cli.bench.record import Record
from resfuse.cli.bench.results import OURS, Result

_SUMMARY = (
    "Ratios: the time of the library's fastest engine over resfuse's in each round; median, least "
    "and most."
)
_DETAILS = (
    "Peak: direct-convolution FLOPs, padding left out, over the FMA peak of all threads, measured "
    "after each timing; Winograd needs fewer, and may pass 100 %. First: seconds from the files to "
    "the end of the first call. MiB: the most that the process held, beyond what its runtime took "
    "before. Difference: of the {answers} from resfuse's, over the largest; beyond {tolerance:g} "
    "the comparison has failed."
)


def show(record: Record) -> None:
    """Prints the tables."""
    console = Console()
    if not console.is_terminal:
        console.width = 200  # where rich would cut the tables at 80 columns
    console.print(details(record.results), "", summary(record), sep="\n")


def failures(results: list[Result]) -> list[str]:
    """A line for each engine whose answers are not resfuse's."""
    return [
        f"{name} and resfuse disagree on {each.case.name}: the {each.task.answers} differ by "
        f"{each.timings[name].difference:.1e} of the largest one"
        for each in results
        for name in each.disagreeing
    ]


def summary(record: Record) -> Table:
    """One row a case."""
    results = record.results
    title = f"Milliseconds a {results[0].task.call}, and ratios: {record.setting}"
    headings = "resfuse", "fastest peer", "ratio", *results[0].libraries
    table = _table(title, _SUMMARY, "Case", *headings)
    for each in results:
        ours = milliseconds(each.timings[OURS].milliseconds)
        ratios = (spread(each.ratios(names)) for names in each.libraries.values())
        table.add_row(each.case.name, ours, _best(each), spread(each.ratios()), *ratios)
    return table


def details(results: list[Result]) -> Table:
    """One row for each engine on each case."""
    task = results[0].task
    headings = "ms", "over resfuse", "GFLOP/s", "peak", "first", "MiB", "difference"
    caption = _DETAILS.format(**task._asdict())
    table = _table(f"One {task.call} on each engine", caption, "Case", *headings)
    for each in results:
        table.add_row(each.case.name)
        for name, timings in each.timings.items():
            table.add_row(
                f"  {each.engines[name].heading}",
                milliseconds(timings.milliseconds),
                spread(each.ratios([name])),
                f"{1e3 * each.case.gflop / timings.milliseconds:.0f}",
                f"{each.share_of_peak(name):.1%}",
                f"{timings.first:.2f}",
                "" if timings.mebibytes is None else f"{timings.mebibytes:.0f}",
                f"{timings.difference:.1e}",
            )
    return table


def _table(title: str, caption: str, first: str, *headings: str) -> Table:
    table = Table(title=title, caption=caption, box=None)
    table.add_column(first, no_wrap=True)
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _best(result: Result) -> str:
    best = result.best_peer
    return f"{result.engines[best].heading} {milliseconds(result.timings[best].milliseconds)} ms"


def milliseconds(value: float) -> str:
    """With three digits, and no exponent."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def spread(ratios: list[float]) -> str:
    """``1.05 (0.97-1.12)``: the median, the least and the most."""
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
