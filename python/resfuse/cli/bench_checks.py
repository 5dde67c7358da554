"""What every benchmark needs to know before it starts: CPUs, the kernel, places to write to."""

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from resfuse.cli.bench_plot import SUFFIXES
from resfuse.cli.files import publish, staging
from resfuse.cli.refuse import refuse
from resfuse.kernel import extension

Measured = TypeVar("Measured")


def count_cpus(threads: int | None) -> int:
    """The CPUs of this process; refuses if they are fewer than the threads, or cannot run ours."""
    cpus = len(os.sched_getaffinity(0))
    if threads and threads > cpus:
        refuse(f"--threads {threads}: there are {cpus} CPUs for this process")
    if not extension.available():
        refuse(f"nothing to measure, the kernel is not live: {extension.unavailable_reason()}")
    return cpus


@contextlib.contextmanager
def outputs(
    json_file: Path | None,
    write: Callable[[Path, Measured], None],
    plot_file: Path | None,
    draw: Callable[[Path, Measured], None],
) -> Iterator[Callable[[Measured], None]]:
    """Yields what writes the files that are asked for; whether it can is found out before."""
    if plot_file and plot_file.suffix.lower() not in SUFFIXES:
        refuse(f"--plot {plot_file}: the name must end in one of {', '.join(SUFFIXES)}")
    writers = {json_file: write, plot_file: draw}
    with contextlib.ExitStack() as stack:
        places = {file: stack.enter_context(staging(file.parent)) for file in writers if file}
        for file in places:
            if file.is_dir():
                refuse(f"cannot write to {file}: it is a directory")
        yield lambda measured: _publish(places, writers, measured)


def _publish(
    places: Mapping[Path, Path],
    writers: Mapping[Path | None, Callable[[Path, Measured], None]],
    measured: Measured,
) -> None:
    for file, scratch in places.items():
        writers[file](scratch / file.name, measured)
        publish(scratch, file)
