"""Batches made in the background, while those before are used."""

import contextlib
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Generic, Self, TypeVar

import numpy as np
from absl import logging
from numpy.typing import NDArray

with contextlib.ExitStack() as _quiet:
    # It warns of old versions of JAX, where its processes (we use threads) cannot be profiled.
    _quiet.callback(logging.set_verbosity, logging.get_verbosity())
    logging.set_verbosity(logging.ERROR)
    import grain

from resfuse.cli.machine import cpus

THREADS = min(8, cpus())

T = TypeVar("T")

Batch = tuple[NDArray[np.float32], NDArray[np.int32]]
"""Images ``(b, H, W, C)`` with values from 0 to 1, and labels ``(b,)``."""


class Stream(Iterator[T], Generic[T]):
    """What ``make`` gives for each of the steps; the next ones are made while one is used.

    Close it, or leave its ``with`` block, to stop that. Raises BadData where data cannot be read.
    """

    def __init__(self, make: Callable[[int], T], steps: range) -> None:
        options = grain.ReadOptions(num_threads=THREADS, prefetch_buffer_size=THREADS)
        dataset = grain.MapDataset.source(steps).map(make)
        self._made = iter(dataset.to_iter_dataset(options))
        self._made.start_prefetch()

    def __next__(self) -> T:
        made: T = next(self._made)
        return made

    def close(self) -> None:
        """Makes no more."""
        self._made.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
