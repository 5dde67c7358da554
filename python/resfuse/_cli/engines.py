"""The engines that the benchmark compares, each alive in its own process: XLA flags are global."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import NamedTuple

from resfuse._cli.cases import Case


class Engine(NamedTuple):
    """An implementation of the op under some XLA flags."""

    implementation: str
    xla_flags: str


OURS = "resfuse"
ENGINES = {
    OURS: Engine("default", ""),
    "xla": Engine("xla", ""),
    "xla, YNN off": Engine("xla", "--xla_cpu_experimental_ynn_fusion_type="),
}


class Worker:
    """The process of one engine, bound to the first ``threads`` CPUs."""

    def __init__(self, name: str, engine: Engine, threads: int) -> None:
        self._name = name
        # The flags of the engine replace the user's, which would change what is compared.
        settings = {"XLA_FLAGS": engine.xla_flags, "JAX_PLATFORMS": "cpu", "NPROC": str(threads)}
        with _affinity(threads):
            self.process = subprocess.Popen(
                [sys.executable, "-m", "resfuse._cli.worker", engine.implementation],
                env=os.environ | settings,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                start_new_session=True,  # Ctrl-C is the parent's to handle
            )

    def time(self, case: Case) -> dict[str, float]:
        """Has the case timed, while every other worker waits for its turn."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(case) + "\n")
        self.process.stdin.flush()
        reply = self.process.stdout.readline()
        if not reply:
            raise RuntimeError(f"the process of engine {self._name!r} ended on {case.name}")
        return dict(json.loads(reply))

    def close(self) -> None:
        """Ends the process."""
        self.process.kill()
        self.process.communicate()


@contextlib.contextmanager
def workers(threads: int) -> Iterator[dict[str, Worker]]:
    """Every engine, started; ended at the end."""
    with contextlib.ExitStack() as stack:
        started = {}
        for name, engine in ENGINES.items():
            started[name] = Worker(name, engine, threads)
            stack.callback(started[name].close)
        yield started


@contextlib.contextmanager
def _affinity(threads: int) -> Iterator[None]:
    """Binds this thread to the first CPUs, for a child to inherit before it starts JAX."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(allowed)[:threads])
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)
