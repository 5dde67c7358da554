"""What is compared, and the figures from the raw timings."""

import dataclasses
import statistics
import sys
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

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
    isa: str = ""  # that it is kept to; without one it uses what the machine has

    @property
    def missing(self) -> list[str]:
        """The packages that are not installed."""
        return [name for name in self.packages if find_spec(name) is None]


class Task(NamedTuple):
    """What engines are asked to do, how it is checked, and the words for it."""

    function: str  # of the engines' modules
    call: str
    answers: str  # what is compared
    calls: int  # whose answers are compared
    tolerance: float  # of the largest answer
    at_least: float  # seconds of a timing
    keeps_memory: bool = False  # whether engines keep what they free, see turns.py


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
class Timings:
    """An engine's on a case."""

    seconds: list[float]  # of a call in every round
    peaks: list[float]  # FMA peaks of one thread, in GFLOP/s, each after a timing
    first: float  # seconds until the first answer
    difference: float  # from resfuse's answers, over the largest of them
    mebibytes: float | None = None  # the most that it held

    @property
    def milliseconds(self) -> float:
        """The median over the rounds."""
        return 1e3 * statistics.median(self.seconds)


@dataclasses.dataclass(frozen=True)
class Result:
    """What was measured on a case."""

    task: Task
    case: Case
    engines: Mapping[str, Engine]
    timings: Mapping[str, Timings]

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

    @property
    def best_peer(self) -> str:
        """The peer with the least median."""
        return min(self.peers, key=lambda name: self.timings[name].milliseconds)

    def ratios(self, engines: Iterable[str] | None = None) -> list[float]:
        """In each round, the time of the fastest of these, by default all peers, over ours."""
        names = OURS, *(self.peers if engines is None else engines)
        rounds = zip(*(self.timings[name].seconds for name in names), strict=True)
        return [min(theirs) / ours for ours, *theirs in rounds]

    def share_of_peak(self, name: str) -> float:
        """The engine's rate over what all threads could do at the FMA peak of that round."""
        work, timings = self.case.gflop / self.case.threads, self.timings[name]
        rounds = zip(timings.seconds, timings.peaks, strict=True)
        return statistics.median(work / seconds / peak for seconds, peak in rounds)

    @property
    def disagreeing(self) -> list[str]:
        """The engines whose answers are not ours. A NaN agrees with nothing."""
        others = {name: each for name, each in self.timings.items() if name != OURS}
        limit = self.task.tolerance
        return [name for name, each in others.items() if not each.difference <= limit]


def difference(answers: NDArray[np.floating], ours: NDArray[np.floating]) -> float:
    """The largest between two engines' answers, over the largest of ours."""
    if answers.shape != ours.shape:
        return np.inf
    return float(np.abs(answers - ours).max() / np.abs(ours).max())
