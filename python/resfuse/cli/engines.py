"""The engines that the benchmark compares, each alive in its own process: XLA flags are global."""

import contextlib
from collections.abc import Iterator
from typing import NamedTuple

from resfuse.cli.turns import Worker


class Engine(NamedTuple):
    """An implementation of the op under some XLA flags."""

    implementation: str
    xla_flags: str


OURS = "resfuse"
YNN_OFF = "--xla_cpu_experimental_ynn_fusion_type="
ENGINES = {
    OURS: Engine("default", ""),
    "xla": Engine("xla", ""),
    "xla, YNN off": Engine("xla", YNN_OFF),
}


@contextlib.contextmanager
def workers(threads: int) -> Iterator[dict[str, Worker]]:
    """Every engine, started; ended at the end."""
    with contextlib.ExitStack() as stack:
        started = {}
        for name, engine in ENGINES.items():
            arguments = ("-m", "resfuse.cli.worker", engine.implementation)
            started[name] = Worker(name, *arguments, threads=threads, xla_flags=engine.xla_flags)
            stack.callback(started[name].close)
        yield started
