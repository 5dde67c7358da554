"""Figures from the raw timings, as a table and as JSON."""

import dataclasses
import json
import platform
import statistics
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.table import Table

import resfuse
from resfuse.cli import ratios
from resfuse.cli.cases import Case
from resfuse.cli.engines import ENGINES, OURS
from resfuse.kernel import extension


@dataclasses.dataclass(frozen=True)
class Result:
    """The seconds of a call in every round, by engine, and the FMA peak of one thread."""

    case: Case
    threads: int
    seconds: dict[str, list[float]]
    peaks: list[float]

    @property
    def milliseconds(self) -> dict[str, float]:
        """The medians over the rounds."""
        return ratios.milliseconds(self.seconds)

    @property
    def ratios(self) -> list[float]:
        """In each round, the time of the faster XLA over ours."""
        return ratios.ratios(self.seconds, OURS, self.seconds.keys() - {OURS})

    @property
    def ratio(self) -> float:
        """The median of the rounds' ratios."""
        return statistics.median(self.ratios)

    @property
    def gflops(self) -> float:
        """Our GFLOP/s in the median round."""
        return self.case.gflop / statistics.median(self.seconds[OURS])

    @property
    def share_of_peak(self) -> float:
        """Ours over what all threads could do, each at the FMA peak measured in that round."""
        seconds = self.seconds[OURS]
        return ratios.share_of_peak(self.case.gflop, seconds, self.peaks, self.threads)


@dataclasses.dataclass(frozen=True)
class Results:
    """Every case of a run."""

    threads: int
    results: list[Result]

    @property
    def setting(self) -> str:
        """Where the figures come from, in a line."""
        return f"{cpu_model()}, {extension.isa()}, threads: {self.threads}, jax {version('jax')}"


def table(measured: Results) -> Table:
    """One row a case."""
    table = Table(
        title=f"Milliseconds a call: {measured.setting}",
        caption="Ratio: the faster XLA over resfuse in each round; median, least and most. Peak: "
        "direct-convolution FLOPs, padding left out, over the FMA peak measured in that round; "
        "Winograd, which needs fewer, passes 100 %.",
        box=None,
    )
    table.add_column("Case", no_wrap=True)
    for heading in (*ENGINES, "Ratio", "Spread", "Peak"):
        table.add_column(heading, justify="right", no_wrap=True)
    for each in measured.results:
        times = (f"{each.milliseconds[name]:.3f}" for name in ENGINES)
        figures = (f"{each.ratio:.2f}", ratios.spread(each.ratios), f"{each.share_of_peak:.1%}")
        table.add_row(each.case.name, *times, *figures)
    return table


def write(path: Path, measured: Results) -> None:
    """Writes every timing, and what it was taken with, as JSON."""
    document = {
        "versions": {"resfuse": resfuse.__version__}
        | {package: version(package) for package in ("jax", "jaxlib", "flax")},
        "cpu": cpu_model(),
        "isa": extension.isa(),
        "threads": measured.threads,
        "engines": {name: engine._asdict() for name, engine in ENGINES.items()},
        "results": [_as_json(each) for each in measured.results],
    }
    path.write_text(json.dumps(document, indent=2) + "\n")


def cpu_model() -> str:
    """The CPU's name as Linux gives it, or its architecture where it gives none."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _as_json(result: Result) -> dict[str, Any]:
    return {
        "name": result.case.name,
        **result.case._asdict(),
        "gflop": result.case.gflop,
        "seconds": result.seconds,
        "fma_peak_gflops": result.peaks,
        "milliseconds": result.milliseconds,
        "ratio": ratios.summary(result.ratios),
        "share_of_peak": result.share_of_peak,
    }
