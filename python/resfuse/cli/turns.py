"""Processes that take turns: each answers requests, and while one works the others wait."""

import contextlib
import json
import os
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any


class Worker:
    """The process ``python *arguments``, bound to the first ``threads`` CPUs."""

    def __init__(self, name: str, *arguments: str, threads: int, xla_flags: str = "") -> None:
        self._name = name
        settings = {
            # The flags of the engine replace the user's, which would change what is compared.
            "XLA_FLAGS": xla_flags,
            "JAX_PLATFORMS": "cpu",
            "JAX_ENABLE_COMPILATION_CACHE": "false",  # compiling is part of what is measured
            "NPROC": str(threads),
            "OMP_NUM_THREADS": str(threads),
        }
        with _affinity(threads):
            self.process = subprocess.Popen(
                [sys.executable, *arguments],
                env=os.environ | settings,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                start_new_session=True,  # Ctrl-C is the parent's to handle
            )

    def ask(self, *request: object) -> Any:
        """The answer to a request. While it is awaited, every other worker idles."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended, which shows below
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
        reply = self.process.stdout.readline()
        if not reply:
            raise RuntimeError(f"the process of {self._name!r} ended on {request}")
        return json.loads(reply)

    def close(self) -> None:
        """Ends the process."""
        self.process.kill()
        with contextlib.suppress(BrokenPipeError):
            self.process.communicate()


def serve(answer: Callable[..., object]) -> None:
    """What a worker's process does: answers each line of standard input until it ends."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no reply
    for line in sys.stdin:
        print(json.dumps(answer(*json.loads(line))), file=replies, flush=True)


def take_turns(
    workers: Mapping[str, Worker], request: Sequence[object], rounds: int, check: Callable[[], None]
) -> list[dict[str, Any]]:
    """Every worker's answer in each round, one worker after the other."""
    turns = []
    order = deque(workers)
    for _ in range(rounds):
        turns.append({name: workers[name].ask(*request) for name in order})
        order.rotate()  # nobody is always first
        check()
    return turns


@contextlib.contextmanager
def _affinity(threads: int) -> Iterator[None]:
    """Binds this thread to the first CPUs, for a child to inherit before it starts JAX."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(allowed)[:threads])
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)
