"""The benchmark as a picture: how far ahead of XLA, and how close to the hardware."""

import statistics
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from resfuse.cli.results import Result, Results

SUFFIXES = (".png", ".svg", ".pdf")
_COLORS = {"op": "tab:blue", "block": "tab:orange"}


def draw(path: Path, measured: Results) -> None:
    """Draws ratios to the faster XLA, and GFLOP/s beside the FMA peak, case by case."""
    results = measured.results
    figure = Figure(figsize=(13, 2.2 + 0.28 * len(results)), layout="constrained")
    figure.suptitle(f"resfuse against plain Flax ({measured.setting})")
    ratios, rates = figure.subplots(1, 2, sharey=True)
    _ratios(ratios, results)
    _rates(rates, results, measured.threads)
    ratios.invert_yaxis()
    figure.savefig(path, dpi=110)


def _bars(axes: Axes, results: list[Result], values: list[float], start: float) -> None:
    """Bars from ``start`` to the values, coloured by layer."""
    colors = [_COLORS[each.case.layer] for each in results]
    widths = [value - start for value in values]
    axes.barh([each.case.name for each in results], widths, left=start, color=colors)
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)


def _label(axes: Axes, row: int, right: float, text: str) -> None:
    axes.annotate(text, (right, row), (4, 0), textcoords="offset points", va="center", fontsize=9)


def _ratios(axes: Axes, results: list[Result]) -> None:
    _bars(axes, results, [each.ratio for each in results], start=1)
    for row, each in enumerate(results):
        axes.plot((min(each.ratios), max(each.ratios)), (row, row), color="black")
        _label(axes, row, max(*each.ratios, 1), f"{each.ratio:.2f}")
    axes.axvline(1, color="black")
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.margins(x=0.15, y=0.02)
    low, high = axes.get_xlim()
    axes.set_xlim(min(low, 0.5), max(high, 2))  # so that small differences look small
    axes.set(
        title="Time of the better XLA (stock or YNN off) over resfuse's",
        xlabel="ratio, above 1 resfuse is faster (bar: median, line: least to most of the rounds)",
    )


def _rates(axes: Axes, results: list[Result], threads: int) -> None:
    _bars(axes, results, [each.gflops for each in results], start=0)
    for row, each in enumerate(results):
        _label(axes, row, each.gflops, f"{each.gflops:.0f} ({each.share_of_peak:.1%})")
    peak = threads * statistics.median(peak for each in results for peak in each.peaks)
    axes.axvline(peak, color="black", linestyle="--")
    axes.margins(x=0.25, y=0.02)
    axes.set(
        title=f"resfuse's rate and share of the FMA peak (dashed: {peak:.0f} GFLOP/s)",
        xlabel="GFLOP/s, counted as direct convolution without padding; Winograd needs fewer",
    )
