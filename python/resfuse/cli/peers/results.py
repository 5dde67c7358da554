"""Figures from the raw timings, and as JSON."""

import dataclasses
import json
import statistics
from importlib.metadata import version
from pathlib import Path
from typing import Any

import resfuse
from resfuse.cli import ratios
from resfuse.cli.peers.engines import ENGINES, OURS, libraries, peers
from resfuse.cli.peers.models import Case
from resfuse.cli.peers.tasks import Task
from resfuse.cli.results import cpu_model
from resfuse.kernel import extension


@dataclasses.dataclass(frozen=True)
class Result:
    """What was measured on a case, by engine."""

    task: Task
    case: Case
    gflop: float  # the arithmetic of a call
    seconds: dict[str, list[float]]
    peaks: dict[str, list[float]]  # FMA peaks of one thread, in GFLOP/s, each after a timing
    first: dict[str, float]  # seconds from the files to the first result
    megabytes: dict[str, float]  # the peak, without what the runtime took before
    differences: dict[str, float]  # from resfuse's answers, over the largest of them

    @property
    def engines(self) -> list[str]:
        """The engines, in the order in which they are shown."""
        return list(self.seconds)

    @property
    def milliseconds(self) -> dict[str, float]:
        """The medians over the rounds."""
        return ratios.milliseconds(self.seconds)

    def ratios_to(self, *engines: str) -> list[float]:
        """In each round, the time of the fastest of these engines over ours."""
        return ratios.ratios(self.seconds, OURS, engines)

    @property
    def ratios(self) -> list[float]:
        """In each round, the time of the fastest peer over ours."""
        return self.ratios_to(*peers(self.engines))

    @property
    def ratios_by_library(self) -> dict[str, list[float]]:
        """The same for the fastest engine of each library."""
        found = libraries(self.engines)
        return {library: self.ratios_to(*engines) for library, engines in found.items()}

    @property
    def rates(self) -> dict[str, float]:
        """GFLOP/s in the median round."""
        return {name: 1e3 * self.gflop / each for name, each in self.milliseconds.items()}

    @property
    def shares_of_peak(self) -> dict[str, float]:
        """The rate over what all threads could do, each at the FMA peak measured in that round."""
        return {
            name: ratios.share_of_peak(self.gflop, each, self.peaks[name], self.case.threads)
            for name, each in self.seconds.items()
        }

    @property
    def ratio(self) -> float:
        """The median of the rounds' ratios."""
        return statistics.median(self.ratios)

    @property
    def best_peer(self) -> str:
        """The peer with the least median."""
        return min(peers(self.engines), key=self.milliseconds.__getitem__)

    @property
    def disagreeing(self) -> list[str]:
        """The engines whose answers are not ours. A NaN agrees with nothing."""
        return [name for name, each in self.differences.items() if not each <= self.task.tolerance]


def setting() -> str:
    """Where the figures come from, in a line."""
    return f"{cpu_model()}, {extension.isa()}"


def write(path: Path, results: list[Result]) -> None:
    """Writes every figure, and what it was taken with, as JSON."""
    engines = results[0].engines
    packages = {name for engine in engines for name in ENGINES[engine].packages}
    document = {
        "versions": {"resfuse": resfuse.__version__}
        | {name: version(name) for name in ("jax", "jaxlib", "flax", *sorted(packages))},
        "cpu": cpu_model(),
        "isa": extension.isa(),
        "task": results[0].task.call,
        "engines": {name: ENGINES[name]._asdict() for name in engines},
        "results": [_as_json(each) for each in results],
    }
    path.write_text(json.dumps(document, indent=2) + "\n")


def _as_json(result: Result) -> dict[str, Any]:
    return {
        "name": result.case.name,
        **result.case._asdict(),
        "gflop": result.gflop,
        "seconds": result.seconds,
        "fma_peak_gflops": result.peaks,
        "milliseconds": result.milliseconds,
        "best_peer": result.best_peer,
        "ratio": ratios.summary(result.ratios),
        "ratio_to": {
            name: ratios.summary(result.ratios_to(name)) for name in result.engines if name != OURS
        },
        "ratio_to_library": {
            library: ratios.summary(each) for library, each in result.ratios_by_library.items()
        },
        "share_of_peak": result.shares_of_peak,
        "seconds_to_first_result": result.first,
        "peak_megabytes": result.megabytes,
        "difference": result.differences,
    }
