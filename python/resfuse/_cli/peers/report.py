"""The figures as tables, and in words where resfuse is not the fastest."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from rich.console import Console
from rich.table import Table

from resfuse._cli import ratios
from resfuse._cli.peers.engines import ENGINES
from resfuse._cli.peers.results import TOLERANCE, Result, setting

_RATIO = "Ratio: the fastest peer over resfuse in each round; median, least and most."
_MEMORY = "The most that the process held, beyond what its runtime took before."
_FIRST = "From the files to the first logits: reading, compiling, and one call."
_DIFFERENCE = f"Of the largest logit; beyond {TOLERANCE:g} the comparison has failed."


def show(results: list[Result]) -> None:
    """Prints the tables and the verdict."""
    tables = [
        _times(results),
        _table("Peak memory, MiB", _MEMORY, results, lambda each: each.megabytes, ".0f"),
        _table("Seconds to the first result", _FIRST, results, lambda each: each.first, ".2f"),
        _table(
            "Largest difference of the logits from resfuse's",
            _DIFFERENCE,
            results,
            lambda each: each.differences,
            ".1e",
        ),
    ]
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
    """A line for each engine whose logits are not resfuse's."""
    return [
        f"{name} and resfuse disagree on {each.case.name}: the logits differ by "
        f"{each.differences[name]:.1e} of the largest one"
        for each in results
        for name in each.disagreeing
    ]


def _times(results: list[Result]) -> Table:
    return _table(
        f"Milliseconds a call: {setting()}",
        _RATIO,
        results,
        lambda each: each.milliseconds,
        ".1f",
        {
            "Ratio": lambda each: f"{each.ratio:.2f}",
            "Spread": lambda each: ratios.spread(each.ratios),
            "Fastest peer": lambda each: _heading(each.best_peer),
        },
    )


def _table(
    title: str,
    caption: str,
    results: list[Result],
    figures: Callable[[Result], Mapping[str, float]],
    form: str,
    extras: Mapping[str, Callable[[Result], str]] = MappingProxyType({}),
) -> Table:
    """One row a case, one column an engine, and then the extra ones."""
    table = Table(title=title, caption=caption, box=None)
    table.add_column("Case", no_wrap=True)
    for heading in (*(ENGINES[name].heading for name in results[0].engines), *extras):
        table.add_column(heading, justify="right", no_wrap=True)
    for each in results:
        values = figures(each)
        cells = (f"{values[name]:{form}}" if name in values else "" for name in each.engines)
        table.add_row(each.case.name, *cells, *(text(each) for text in extras.values()))
    return table


def _heading(name: str) -> str:
    return ENGINES[name].heading.replace("\n", " ")
