"""Figures from the raw timings, and as JSON."""

import dataclasses
import json
import statistics
from importlib.metadata import version
from pathlib import Path
from typing import Any

import resfuse
from resfuse import ffi
from resfuse._cli import ratios
from resfuse._cli.peers.engines import ENGINES, OURS, peers
from resfuse._cli.peers.models import Case
from resfuse._cli.results import cpu_model

TOLERANCE = 1e-3  # of the largest logit; float32 in another order stays far below


@dataclasses.dataclass(frozen=True)
class Result:
    """What was measured on a case, by engine."""

    case: Case
    seconds: dict[str, list[float]]
    first: dict[str, float]  # seconds from the files to the first result
    megabytes: dict[str, float]  # the peak, without what the runtime took before
    differences: dict[str, float]  # from resfuse's logits, over the largest of them

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
    def ratio(self) -> float:
        """The median of the rounds' ratios."""
        return statistics.median(self.ratios)

    @property
    def best_peer(self) -> str:
        """The peer with the least median."""
        return min(peers(self.engines), key=self.milliseconds.__getitem__)

    @property
    def disagreeing(self) -> list[str]:
        """The engines whose logits are not ours. A NaN agrees with nothing."""
        return [name for name, each in self.differences.items() if not each <= TOLERANCE]


def setting() -> str:
    """Where the figures come from, in a line."""
    return f"{cpu_model()}, {ffi.isa()}"


def write(path: Path, results: list[Result]) -> None:
    """Writes every figure, and what it was taken with, as JSON."""
    engines = results[0].engines
    packages = {name for engine in engines for name in ENGINES[engine].packages}
    document = {
        "versions": {"resfuse": resfuse.__version__}
        | {name: version(name) for name in ("jax", "jaxlib", "flax", *sorted(packages))},
        "cpu": cpu_model(),
        "isa": ffi.isa(),
        "engines": {name: ENGINES[name]._asdict() for name in engines},
        "results": [_as_json(each) for each in results],
    }
    path.write_text(json.dumps(document, indent=2) + "\n")


def _as_json(result: Result) -> dict[str, Any]:
    return {
        "name": result.case.name,
        **result.case._asdict(),
        "seconds": result.seconds,
        "milliseconds": result.milliseconds,
        "best_peer": result.best_peer,
        "ratio": ratios.summary(result.ratios),
        "ratio_to": {
            name: ratios.summary(result.ratios_to(name)) for name in result.engines if name != OURS
        },
        "seconds_to_first_result": result.first,
        "peak_megabytes": result.megabytes,
        "difference": result.differences,
    }
