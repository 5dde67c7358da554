"""Several processes that train as one, on one machine or many."""

import contextlib
import dataclasses
import json
import os
import socket
import sys
import threading
import traceback
from collections.abc import Iterator
from typing import Any, NoReturn, Self

import jax
import numpy as np
import typer
from jax.experimental import multihost_utils

from resfuse.cli.ending import refuse
from resfuse.cli.training.devices import Devices
from resfuse.cli.training.lifeline import Lifeline

JOIN_WITHIN = 60  # seconds
GONE = "resfuse: another process of the run has ended or cannot be reached\n"

_leaving = threading.Lock()


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

    After an error a process leaves at once, and the others notice that it has gone.
    """
    if cluster is None:
        yield
        return
    try:
        lifeline = Lifeline(_join(cluster), lambda: _leave(1, GONE))
        yield
        lifeline.close()
    except typer.Exit as end:
        _leave(end.exit_code)
    except KeyboardInterrupt:
        _leave(130)
    except Exception as error:
        # What JAX raises from its collectives is a ValueError in one place, its own in another.
        _leave(1, GONE if _is_of_network(error) else traceback.format_exc())


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


def _join(cluster: Cluster) -> list[socket.socket]:
    """Makes JAX's engine span the cluster; returns the connections of the lifeline.

    When process 0 has gone, JAX's own client would abort this process, from C++ code and with a
    stack trace. Until the collectives are connected it is needed, and leaves then; that of process
    0, whose service is in the same process, stays for Orbax.
    """
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    # It would catch SIGTERM, for a use that is not made of it.
    jax.config.update("jax_enable_preemption_service", False)
    # Clients may then leave one by one, and the service does not mind.
    jax.config.update("jax_enable_recoverability", True)
    with _at_most(
        JOIN_WITHIN, f"not all {cluster.processes} processes met at {cluster.coordinator}"
    ):
        jax.distributed.initialize(
            cluster.coordinator,
            cluster.processes,
            cluster.index,
            cluster_detection_method="deactivate",
            initialization_timeout=2 * JOIN_WITHIN,
        )
        _connect_collectives()
        peers = _connected(cluster)
        if cluster.index:
            jax.distributed.shutdown()
    return peers


def _connect_collectives() -> None:
    """Connects the groups of devices that sum and share; later groups could not be connected."""
    devices = Devices.all()
    ones = devices.spread(np.ones(jax.local_device_count(), np.float32))
    jax.jit(lambda each: each.sum(), out_shardings=devices.everywhere)(ones).block_until_ready()
    multihost_utils.sync_global_devices("joined")


def _connected(cluster: Cluster) -> list[socket.socket]:
    """Process 0, on a port that the system chooses, with all others; and they with process 0."""
    if cluster.index:
        host = cluster.coordinator.rpartition(":")[0].strip("[]")
        return [socket.create_connection((host, share(None)), JOIN_WITHIN)]
    dual = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if dual else socket.AF_INET
    with socket.create_server(("", 0), family=family, dualstack_ipv6=dual) as server:
        share(server.getsockname()[1])
        return [server.accept()[0] for _ in range(cluster.processes - 1)]


@contextlib.contextmanager
def _at_most(seconds: int, failure: str) -> Iterator[None]:
    """Ends the process if the block takes longer: JAX would abort."""
    message = f"resfuse: {failure} within {seconds} seconds\n"
    timer = threading.Timer(seconds, _leave, (1, message))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _leave(code: int, message: str = "") -> NoReturn:
    """Ends the process at once. Of several threads that call this, one has its way."""
    _leaving.acquire()  # for good
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        # Not by print: sys.stderr may be redirected, and takes a line and its end apart.
        os.write(2, message.encode(errors="backslashreplace"))
    os._exit(code)


def _is_of_network(error: Exception) -> bool:
    signs = ("Gloo", "UNAVAILABLE", "DEADLINE_EXCEEDED", "coordination")
    return any(sign in str(error) for sign in signs)
