"""Engines that take turns: each lives in a process of its own, and only one works at a time."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from typing import Any


class Engine:
    """A process running ``python script arguments...`` on the first ``threads`` CPUs."""

    def __init__(self, script: str, threads: int, *arguments: str, xla_flags: str = "") -> None:
        cpus = sorted(os.sched_getaffinity(0))[:threads]
        settings = {"JAX_PLATFORMS": "cpu", "NPROC": str(threads), "XLA_FLAGS": xla_flags}
        self._process = subprocess.Popen(
            [sys.executable, script, *arguments],
            env=os.environ | settings | {"OMP_NUM_THREADS": str(threads)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            # Before JAX starts: it sizes its pool by what the process may use.
            preexec_fn=partial(os.sched_setaffinity, 0, cpus),
        )

    def ask(self, request: object) -> Any:
        """Sends a request to the process and waits for its answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        reply = self._process.stdout.readline()
        if not reply:
            raise RuntimeError(f"{self._process.args!r} ended; its error is above")
        return json.loads(reply)

    def close(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.communicate()


def serve(answer: Callable[..., object]) -> None:
    """What such a process does: answers every request, a list of arguments, until there is none."""
    for line in sys.stdin:
        print(json.dumps(answer(*json.loads(line))), flush=True)
