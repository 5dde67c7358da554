"""A run of a benchmark as JSON: every timing, and when, where and with what it was taken."""

import dataclasses
import datetime
import json
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

import resfuse
from resfuse.cli.bench.results import OURS, Case, Engine, Result, Task, Timings
from resfuse.cli.machine import caches, cpus, processor

_KEPT = (
    "heading",
    "library",
    "xla_flags",
    "isa",
)  # of an engine: the rest says how it was started here


@dataclasses.dataclass(frozen=True)
class Record:
    """What was measured, all of it on one task."""

    date: str  # of its end, as in 2026-01-31
    processor: str
    cpus: int  # those that the process may use; a case says how many it had
    caches: Sequence[str]  # as in L2 2048 KiB
    isas: Sequence[str]  # of the kernel's, those that the machine has, the best first
    isa: str  # the one in use
    versions: Mapping[str, str]
    results: list[Result]

    @classmethod
    def here_and_now(cls, results: list[Result]) -> Self:
        """The record of what this machine has just measured."""
        engines = results[0].engines.values()
        packages = {name for engine in engines for name in engine.packages}
        return cls(
            datetime.datetime.now(datetime.UTC).date().isoformat(),
            processor(),
            cpus(),
            caches(),
            resfuse.ffi.isas(),
            results[0].engines[OURS].isa or resfuse.ffi.isa() or "",
            {"resfuse": resfuse.__version__, "python": platform.python_version()}
            | {name: version(name) for name in ("jax", "jaxlib", "flax", *sorted(packages))},
            results,
        )

    @property
    def setting(self) -> str:
        """Where the figures come from, in a line.

        If resfuse was kept from the best instructions of the machine, it says so, and whether the
        other engines were as well (``Engine.isa``) or not (``RESFUSE_ISA`` alone).
        """
        limited = all(engine.isa for engine in self.results[0].engines.values())
        whom = "all engines" if limited else "resfuse"
        best = "" if self.isa == self.isas[0] else f" for {whom}, of a machine with {self.isas[0]}"
        return f"{self.processor}, {self.isa}{best}, jax {self.versions['jax']}"

    def write(self, path: Path) -> None:
        """Writes all of it, and for other readers the figures that follow."""
        task, engines = self.results[0].task, self.results[0].engines
        kept = {name: {key: getattr(e, key) for key in _KEPT} for name, e in engines.items()}
        document = {
            **{f.name: getattr(self, f.name) for f in dataclasses.fields(self)},
            "task": task._asdict(),
            "engines": kept,
            "results": [_as_json(each) for each in self.results],
        }
        path.write_text(json.dumps(document, indent=2) + "\n")

    @classmethod
    def read(cls, path: Path) -> Self:
        """The record that was written. Its engines cannot be started."""
        document = json.loads(path.read_text())
        task = Task(**document.pop("task"))
        engines = {
            name: Engine(**each, module="", variant="")
            for name, each in document.pop("engines").items()
        }
        results = [_from_json(each, task, engines) for each in document.pop("results")]
        return cls(**document, results=results)


def _as_json(result: Result) -> dict[str, Any]:
    engines = {
        name: {
            **dataclasses.asdict(each),
            "ratios": result.ratios([name]),
            "share_of_peak": result.share_of_peak(name),
        }
        for name, each in result.timings.items()
    }
    return {"name": result.case.name, **result.case._asdict(), "engines": engines}


def _from_json(written: dict[str, Any], task: Task, engines: Mapping[str, Engine]) -> Result:
    fields = [field.name for field in dataclasses.fields(Timings)]
    timings = {
        name: Timings(**{field: each[field] for field in fields})
        for name, each in written["engines"].items()
    }
    case = Case(**{field: written[field] for field in Case._fields})
    return Result(task, case, engines, timings)
