"""Several processes that train as one, on one machine or many."""

import contextlib
import dataclasses
import json
import signal
import threading
import traceback
from collections.abc import Iterator
from typing import Any, Self

import jax
import numpy as np
import typer
from jax.experimental import multihost_utils

from resfuse.cli.refuse import refuse
from resfuse.cli.training.last_word import LastWord

JOIN_WITHIN = 60  # seconds
SILENT_FOR = 45  # seconds after which a process that no longer answers counts as dead
GONE = "resfuse: another process of the run has ended or cannot be reached\n"
# JAX writes one of these when it hears that a process has gone, and then aborts with a stack trace.
# A callback could be given instead, but only in private, and it aborts too: it cannot convert its
# argument. If a later JAX has other words, its own are seen as they are.
SIGNS = (
    "Polled an error from coordination service",
    "Terminating process because the JAX distributed service detected fatal errors",
)


@dataclasses.dataclass(frozen=True)
class Cluster:
    """Where process 0 listens, of how many processes this is one, and which."""

    coordinator: str
    processes: int
    index: int

    @classmethod
    def of(cls, coordinator: str | None, processes: int | None, index: int | None) -> Self | None:
        """From the options of the command; ``None`` without them."""
        if coordinator is None and processes is None and index is None:
            return None
        if coordinator is None or processes is None or index is None:
            refuse("--coordinator, --num-processes and --process-id must be given together")
        if not coordinator.rpartition(":")[2].isdecimal() or coordinator.startswith(":"):
            refuse(f"--coordinator {coordinator}: it must be HOST:PORT, as in 10.0.0.1:4321")
        if index >= processes:
            refuse(f"--process-id {index}: it must be less than --num-processes {processes}")
        return cls(coordinator, processes, index)


@contextlib.contextmanager
def joined(cluster: Cluster | None) -> Iterator[None]:
    """Makes this process one of the cluster, and says so when another one has gone.

    JAX ends a process in an orderly way only together with all others. After an error there is no
    such agreement: the process leaves at once, and the others notice that it has gone.
    """
    if cluster is None:
        yield
        return
    last_word = LastWord(SIGNS, GONE)
    with last_word.kept():
        try:
            _join(cluster, last_word)
            yield
            jax.distributed.shutdown()
        except typer.Exit as end:
            last_word.leave(end.exit_code)
        except KeyboardInterrupt:
            last_word.leave(130)
        except Exception as error:
            # What JAX raises from its collectives is a ValueError in one place, its own in another.
            last_word.leave(1, GONE if _is_of_network(error) else traceback.format_exc())


def share(value: Any) -> Any:
    """What process 0 has, a JSON value, in every process."""
    if jax.process_count() == 1:
        return value
    text = np.frombuffer(json.dumps(value).encode(), np.uint8)
    size = int(multihost_utils.broadcast_one_to_all(np.int32(text.size)))
    text = np.resize(text, size)  # of a process but the first, only the size counts
    return json.loads(np.asarray(multihost_utils.broadcast_one_to_all(text)).tobytes())


def share_arrays(tree: Any) -> Any:
    """A pytree of arrays that process 0 has, in every process; the others have one like it."""
    return tree if jax.process_count() == 1 else multihost_utils.broadcast_one_to_all(tree)


def _join(cluster: Cluster, last_word: LastWord) -> None:
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    # It would catch SIGTERM, for a use that is not made of it, and complain when process 0 is gone.
    jax.config.update("jax_enable_preemption_service", False)
    with _at_most(
        JOIN_WITHIN,
        f"not all {cluster.processes} processes met at {cluster.coordinator}",
        last_word,
    ):
        jax.distributed.initialize(
            cluster.coordinator,
            cluster.processes,
            cluster.index,
            cluster_detection_method="deactivate",
            initialization_timeout=2 * JOIN_WITHIN,
            heartbeat_timeout_seconds=SILENT_FOR,
        )
        multihost_utils.sync_global_devices("joined")  # from here on, gloo notices who goes


@contextlib.contextmanager
def _at_most(seconds: int, failure: str, last_word: LastWord) -> Iterator[None]:
    """Ends the process if the block takes longer, or at Ctrl-C: JAX would abort, or not listen."""
    message = f"resfuse: {failure} within {seconds} seconds\n"
    timer = threading.Timer(seconds, last_word.leave, (1, message))
    timer.daemon = True
    timer.start()
    previous = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
        timer.cancel()


def _is_of_network(error: Exception) -> bool:
    signs = ("Gloo", "UNAVAILABLE", "DEADLINE_EXCEEDED", "coordination")
    return any(sign in str(error) for sign in signs)
