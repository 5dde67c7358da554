"""Engines, each alive in its own process: while one works, the others wait."""

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from resfuse.cli.bench import worker
from resfuse.cli.bench.results import (
    OURS,
    YNN_OFF,
    Case,
    Engine,
    Result,
    Task,
    Timings,
    difference,
)

# What keeps a process to an instruction set: resfuse, XLA, oneDNN (in OpenVINO and PyTorch),
# PyTorch with inductor, and MKL (in PyTorch). XLA makes no YNN fusions then, whose kernels ask the
# processor and nothing else. So does ONNX Runtime, and there is no help for it.
LIMITS: dict[str, dict[str, str]] = {
    "avx2": {
        "RESFUSE_ISA": "avx2",
        "XLA_FLAGS": f"--xla_cpu_max_isa=AVX2 {YNN_OFF}",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "ATEN_CPU_CAPABILITY": "avx2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    }
}

# What has glibc keep for the process whatever it frees. The temporaries of a training step,
# hundreds of megabytes, otherwise go back to the system after each. A virtual machine may give them
# on to its host within seconds (free page reporting): 2 MiB then take 6 ms to come again, in place
# of 0.25, and now and then a step of any engine takes twice as long.
KEEPING = {
    "GLIBC_TUNABLES": "glibc.malloc.arena_max=1:glibc.malloc.mmap_max=0"
    ":glibc.malloc.trim_threshold=9999999999"
}


class Worker:
    """A process of ``worker.py``, bound to the first ``threads`` CPUs.

    Its interpreter imports from ``folder`` too. All libraries but ONNX Runtime use no better
    instructions than those of ``isa``, a key of ``LIMITS``, if there is one. With ``keeps_memory``
    the process keeps what it frees.
    """

    def __init__(
        self,
        name: str,
        threads: int,
        *,
        folder: str = "",
        xla_flags: str = "",
        python: str = sys.executable,
        isa: str = "",
        keeps_memory: bool = False,
    ) -> None:
        self._name = name
        # Another interpreter has its own resfuse, and not that of this one's path.
        inherited = os.environ.get("PYTHONPATH") if python == sys.executable else None
        keeping = KEEPING if keeps_memory else {}
        environment = (
            limited(isa, xla_flags)
            | keeping
            | {
                "PYTHONPATH": os.pathsep.join(filter(None, (folder, inherited))),
                "JAX_PLATFORMS": "cpu",
                "JAX_ENABLE_COMPILATION_CACHE": "false",  # compiling is part of what is measured
                "NPROC": str(threads),
                "OMP_NUM_THREADS": str(threads),
            }
        )
        with _affinity(threads):
            self.process = subprocess.Popen(
                [python, "-P", worker.__file__],  # without the folder of the file in its path
                env=os.environ | environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                start_new_session=True,  # Ctrl-C is the parent's to handle
            )

    def ask(self, what: str, *arguments: object) -> Any:
        """The answer to a request of ``worker.Requests``, during which other workers idle."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended, which shows below
            self.process.stdin.write(json.dumps([what, *arguments]) + "\n")
            self.process.stdin.flush()
        reply = self.process.stdout.readline()
        if not reply:
            raise RuntimeError(f"the process of {self._name!r} ended on {what} {arguments}")
        return json.loads(reply)

    def close(self) -> None:
        """Ends the process."""
        self.process.kill()
        with contextlib.suppress(BrokenPipeError):
            self.process.communicate()


@dataclasses.dataclass(frozen=True)
class Measurement:
    """A task for several engines, in rounds; ``check`` is called whenever no worker works.

    ``folder`` holds modules of engines that are not installed.
    """

    task: Task
    engines: Mapping[str, Engine]
    rounds: int
    check: Callable[[], None]
    folder: str = ""

    @contextlib.contextmanager
    def start(self, threads: int) -> Iterator[dict[str, Worker]]:
        """A worker for each engine, its libraries imported and awake; ended at the end."""
        with contextlib.ExitStack() as stack:
            workers = {}
            for name, engine in self.engines.items():  # one starts while the others wait
                workers[name] = Worker(
                    name,
                    threads,
                    folder=self.folder,
                    xla_flags=engine.xla_flags,
                    python=engine.python,
                    isa=engine.isa,
                    keeps_memory=self.task.keeps_memory,
                )
                stack.callback(workers[name].close)
                workers[name].ask("run", f"{engine.module}:start")
                self.check()
            yield workers

    def measure(self, case: Case, workers: Mapping[str, Worker], *arguments: object) -> Result:
        """Every engine builds the case, from these arguments; then they take turns."""
        first, answers = {}, {}
        with tempfile.TemporaryDirectory() as scratch:
            for name, engine in self.engines.items():
                file = f"{scratch}/{name}.npy"
                function = f"{engine.module}:{self.task.function}"
                request = function, (engine.variant, *arguments), file, self.task.calls
                first[name] = workers[name].ask("build", *request)
                answers[name] = np.load(file)
                self.check()
        turns = self._take_turns(workers)
        timings = {
            name: Timings(
                [turn[name]["seconds"] for turn in turns],
                [turn[name]["peak"] for turn in turns],
                first[name],
                difference(answers[name], answers[OURS]),
            )
            for name in workers
        }
        return Result(self.task, case, self.engines, timings)

    def _take_turns(self, workers: Mapping[str, Worker]) -> list[dict[str, Any]]:
        """Every worker's timing in each round."""
        turns = []
        order = deque(workers)
        for _ in range(self.rounds):
            turns.append({name: workers[name].ask("time", self.task.at_least) for name in order})
            order.rotate()  # nobody is always first
            self.check()
        return turns


def limited(isa: str, xla_flags: str) -> dict[str, str]:
    """What keeps a process to an instruction set, if one is given, beside an engine's XLA flags.

    They replace the user's, which would change what is compared.
    """
    limits = LIMITS[isa] if isa else {"XLA_FLAGS": ""}
    return limits | {"XLA_FLAGS": f"{xla_flags} {limits['XLA_FLAGS']}".strip()}


@contextlib.contextmanager
def _affinity(threads: int) -> Iterator[None]:
    """Binds this thread to the first CPUs, for a child to inherit before it starts JAX.

    macOS binds no threads: there, ``NPROC`` alone limits them.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(allowed)[:threads])
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)
