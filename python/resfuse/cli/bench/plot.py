"""The comparison as a picture: for each case, how far ahead of each peer."""

import statistics
import textwrap
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from resfuse.cli.bench.record import Record
from resfuse.cli.bench.results import Result

SUFFIXES = (".png", ".svg", ".pdf")
_MARKERS = "oDs^vPX*"
_LETTERS = 12  # of a title, in an inch
_STEP = 0.1  # between the peers of a case, so that their markers do not cover one another


def draw(record: Record, path: Path) -> None:
    """Draws the ratios to each peer, a case beside the other."""
    results = record.results
    cases, groups = len(results), len({each.case.group for each in results})
    letters = max(len(each.case.label) for each in results)
    width = 3.5 + max(max(0.62, 0.075 * letters) * cases, 1.2 * groups)
    figure = Figure(figsize=(width, 4.5), layout="constrained")
    axes = figure.subplots()
    title = f"Time of a {results[0].task.call} on other engines over resfuse's"
    setting = f"({record.setting}, threads: {results[0].case.threads})"
    lines = [title, *textwrap.wrap(setting, int(_LETTERS * width))]
    figure.suptitle("\n".join(lines), fontsize="medium")
    _draw_peers(axes, results)
    _draw_ticks(axes, results)
    figure.legend(loc="outside right center", frameon=False)
    figure.savefig(path, dpi=110)


def _draw_peers(axes: Axes, results: list[Result]) -> None:
    names, engines = results[0].peers, results[0].engines
    for index, name in enumerate(names):
        ratios = [each.ratios([name]) for each in results]
        medians = [statistics.median(each) for each in ratios]
        errors = (
            [middle - min(each) for middle, each in zip(medians, ratios, strict=True)],
            [max(each) - middle for middle, each in zip(medians, ratios, strict=True)],
        )
        places = [row + _STEP * (index - (len(names) - 1) / 2) for row in range(len(results))]
        title, marker = engines[name].heading, _MARKERS[index]
        axes.errorbar(places, medians, errors, fmt=marker, label=title, markersize=6, lw=1)


def _draw_ticks(axes: Axes, results: list[Result]) -> None:
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_locator(NullLocator())
    low, high = axes.get_ylim()
    axes.set_ylim(min(low, 0.7), max(high, 1.5))
    axes.axhspan(axes.get_ylim()[0], 1, color="tab:red", alpha=0.08)
    axes.axhline(1, color="black", lw=1)
    axes.annotate("resfuse is slower", (0, 0), (4, 4), "axes fraction", "offset points", fontsize=8)
    axes.set_xlim(-0.6, len(results) - 0.4)
    axes.set_xticks(range(len(results)), [_label(each, results) for each in results], fontsize=8)
    axes.grid(axis="y", alpha=0.3)
    axes.set_ylabel("ratio, above 1 resfuse is faster\n(line: least to most of the rounds)")
    for row in range(1, len(results)):
        if results[row].case.group != results[row - 1].case.group:
            axes.axvline(row - 0.5, color="grey", lw=0.6)


def _label(result: Result, results: list[Result]) -> str:
    """The case's, and below the middle one of a group the name of the group."""
    same = [each for each in results if each.case.group == result.case.group]
    name = result.case.group if result is same[(len(same) - 1) // 2] else ""
    return f"{result.case.label}\n{name}"
