"""What is compared, the figures from the raw timings, and both as JSON."""

import dataclasses
import json
import platform
import statistics
import sys
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import resfuse

OURS = "resfuse"
YNN_OFF = "--xla_cpu_experimental_ynn_fusion_type="


class Engine(NamedTuple):
    """One of those that are compared.

    Its module has ``start()``, which wakes the runtime, and for each task a function that returns
    the call to be timed, given ``variant`` and the arguments of the case.
    """

    heading: str
    library: str
    module: str
    variant: str
    xla_flags: str = ""
    packages: tuple[str, ...] = ()  # what has to be installed
    python: str = sys.executable

    @property
    def missing(self) -> list[str]:
        """The packages that are not installed."""
        return [name for name in self.packages if find_spec(name) is None]

    @property
    def title(self) -> str:
        """The heading in a line."""
        return self.heading.replace("\n", " ")


class Task(NamedTuple):
    """What engines are asked to do, how it is checked, and the words for it."""

    function: str  # of the engines' modules
    call: str
    answers: str  # what is compared
    calls: int  # whose answers are compared
    tolerance: float  # of the largest answer
    at_least: float  # seconds of a timing


class Case(NamedTuple):
    """What engines do it on: cases of one group follow one another."""

    group: str
    label: str
    threads: int
    gflop: float  # the arithmetic of a call

    @property
    def name(self) -> str:
        """``ResNet18, batch 8, threads: 2``."""
        return f"{self.group}, {self.label}, threads: {self.threads}"


@dataclasses.dataclass(frozen=True)
class Result:
    """What was measured on a case, by engine."""

    task: Task
    case: Case
    engines: Mapping[str, Engine]
    seconds: dict[str, list[float]]  # of a call in every round
    peaks: dict[str, list[float]]  # FMA peaks of one thread, in GFLOP/s, each after a timing
    first: dict[str, float]  # seconds until the first answer
    differences: dict[str, float]  # from resfuse's answers, over the largest of them
    megabytes: dict[str, float] = dataclasses.field(default_factory=dict)  # peak memory

    @property
    def milliseconds(self) -> dict[str, float]:
        """The medians over the rounds."""
        return {name: 1e3 * statistics.median(each) for name, each in self.seconds.items()}

    @property
    def libraries(self) -> dict[str, list[str]]:
        """The engines that are not resfuse, by library."""
        found: dict[str, list[str]] = {}
        for name, engine in self.engines.items():
            if engine.library != OURS:
                found.setdefault(engine.library, []).append(name)
        return found

    @property
    def peers(self) -> list[str]:
        """The engines that are not resfuse."""
        return [name for engines in self.libraries.values() for name in engines]

    def ratios_to(self, engines: Iterable[str]) -> list[float]:
        """In each round, the time of the fastest of these engines over ours."""
        rounds = zip(self.seconds[OURS], *map(self.seconds.__getitem__, engines), strict=True)
        return [min(theirs) / ours for ours, *theirs in rounds]

    @property
    def ratios(self) -> list[float]:
        """In each round, the time of the fastest peer over ours: above 1 we are faster."""
        return self.ratios_to(self.peers)

    @property
    def ratio(self) -> float:
        """The median of the rounds' ratios."""
        return statistics.median(self.ratios)

    @property
    def best_peer(self) -> str:
        """The peer with the least median."""
        return min(self.peers, key=self.milliseconds.__getitem__)

    @property
    def rates(self) -> dict[str, float]:
        """GFLOP/s in the median round."""
        return {name: 1e3 * self.case.gflop / each for name, each in self.milliseconds.items()}

    @property
    def shares_of_peak(self) -> dict[str, float]:
        """The rate over what all threads could do, each at the FMA peak measured in that round."""
        work = self.case.gflop / self.case.threads
        return {
            name: statistics.median(
                work / a / b for a, b in zip(each, self.peaks[name], strict=True)
            )
            for name, each in self.seconds.items()
        }

    @property
    def disagreeing(self) -> list[str]:
        """The engines whose answers are not ours. A NaN agrees with nothing."""
        return [name for name, each in self.differences.items() if not each <= self.task.tolerance]


def differences(answers: Mapping[str, NDArray[np.floating]]) -> dict[str, float]:
    """The largest difference of each engine's answers to resfuse's, over the largest answer."""
    ours = answers[OURS]
    largest = np.abs(ours).max()
    return {
        name: float(np.abs(each - ours).max() / largest) if each.shape == ours.shape else np.inf
        for name, each in answers.items()
        if name != OURS
    }


def setting() -> str:
    """Where the figures come from, in a line: the CPU as Linux names it, and its instructions."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{(names or [platform.machine()])[0]}, {resfuse.ffi.isa()}, jax {version('jax')}"


def write(path: Path, results: list[Result]) -> None:
    """Writes every figure, and what it was taken with, as JSON."""
    engines = results[0].engines
    packages = {name for engine in engines.values() for name in engine.packages}
    document = {
        "versions": {"resfuse": resfuse.__version__}
        | {name: version(name) for name in ("jax", "jaxlib", "flax", *sorted(packages))},
        "setting": setting(),
        "task": results[0].task.call,
        "engines": {name: engine._asdict() for name, engine in engines.items()},
        "results": [_as_json(each) for each in results],
    }
    path.write_text(json.dumps(document, indent=2) + "\n")


def _as_json(result: Result) -> dict[str, Any]:
    engines = {name: [name] for name in result.engines if name != OURS}
    groups = {**engines, **result.libraries}
    return {
        "name": result.case.name,
        **result.case._asdict(),
        "seconds": result.seconds,
        "fma_peak_gflops": result.peaks,
        "milliseconds": result.milliseconds,
        "share_of_peak": result.shares_of_peak,
        "best_peer": result.best_peer,
        "ratio": _summary(result.ratios),
        "ratio_to": {name: _summary(result.ratios_to(each)) for name, each in groups.items()},
        "seconds_to_first_result": result.first,
        "peak_megabytes": result.megabytes,
        "difference": result.differences,
    }


def _summary(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}
