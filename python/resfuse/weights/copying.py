"""Copies of a file's arrays as variables, so that the file can change."""

import os
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from resfuse import memory
from resfuse.kernel import extension
from resfuse.weights.mapped import forget, is_mapped
from resfuse.weights.scheme import TORCH, Layout, Place

__all__ = ["Copies"]

_Part = dict[str, np.ndarray]

_OUTPUTS = 32  # whose numbers are two cache lines

# Of a file. After each part its memory is given back; then the thread waits for Python, a few ms.
_LEAST_PART = 1 / 16


class Copies:
    """A thread copies arrays of a mapped file, while Flax makes the network.

    More would only take turns with Flax on a machine of two cores, and hold more parts in memory
    twice. What is left when the network is there, the caller's thread copies as well.

    Which variable each will be is not known by then: it takes the axes in the order that the layout
    gives them. What was meant otherwise is copied again.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray], layout: Layout) -> None:
        taken = {name: array for name, array in arrays.items() if _is_plain(array)}
        as_read = {name: _three_axes(array, layout is TORCH) for name, array in taken.items()}
        self._views = {name: array.transpose() for name, array in as_read.items()}
        self._parts: list[tuple[_Part, Future[_Part]]] = []
        if extension.available():
            thread = ThreadPoolExecutor(1)
            self._parts = [(part, thread.submit(_reversed, part)) for part in _parts(as_read)]
            thread.shutdown(wait=False)

    def values(
        self, places: Mapping[str, Place], arrays: dict[str, np.ndarray]
    ) -> Iterator[tuple[str, np.ndarray]]:
        """Of variables by their paths, in float32; drops the arrays one after another."""
        done = self._done()
        left = {}
        for path, place in places.items():
            view = place.to_ours(arrays[place.name])
            copy = done.pop(place.name, None)
            if copy is not None and _same(view, self._views[place.name]):
                del arrays[place.name]
                yield path, copy.reshape(view.shape)
            else:
                left[path] = place

        def copied(place: Place) -> np.ndarray:
            array = arrays.pop(place.name)
            copy = _copied(place.to_ours(array))
            forget([array])
            return copy

        # NumPy copies, and Linux finds memory, in parallel.
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            yield from zip(left, threads.map(copied, left.values()), strict=True)

    def _done(self) -> _Part:
        """The copies; makes those that the thread has not begun, from the last."""
        here = [_reversed(part) for part, copies in reversed(self._parts) if copies.cancel()]
        there = [copies.result() for _, copies in self._parts if not copies.cancelled()]
        return dict(item for part in (*here, *there) for item in part.items())


def _is_plain(array: np.ndarray) -> bool:
    """Whether the kernel's side can read it: as the file has it, whose memory can be given back."""
    whole = array.flags.c_contiguous and array.ndim > 0 and array.size > 0
    return whole and array.dtype == np.float32 and is_mapped(array)


def _three_axes(array: np.ndarray, outputs_first: bool) -> np.ndarray:
    """A view whose axes in reverse order are a variable's: outputs, inputs, pixels; or as it is."""
    if not outputs_first or array.ndim == 1:
        return array.reshape(1, 1, -1)
    return array.reshape(*array.shape[:2], -1)


def _parts(arrays: Mapping[str, np.ndarray]) -> Iterator[_Part]:
    """The arrays in parts, each about half of what is left.

    A part is in memory twice until it is copied: in all, no more than the model takes in the end.
    """
    part: _Part = {}
    size, left = 0, sum(array.nbytes for array in arrays.values())
    least = _LEAST_PART * left
    for name, array in arrays.items():
        part[name] = array
        size += array.nbytes
        if size >= max(left / 2, least):
            yield part
            part, size, left = {}, 0, left - size
    if part:
        yield part


def _reversed(arrays: _Part) -> _Part:
    """Their transposes, side by side: whole parts are large enough for huge pages, arrays are not.

    To be called back into Python for each would take longer than to copy.
    """
    group = list(arrays.values())
    copies = memory.empty_blocks([array.shape[::-1] for array in group])
    extension.reverse_axes(group, copies)
    forget(group)
    return dict(zip(arrays, copies, strict=True))


def _same(view: np.ndarray, other: np.ndarray) -> bool:
    """Whether they are the same numbers in the same order."""
    return _steps(view) == _steps(other)


def _steps(view: np.ndarray) -> tuple[int, list[tuple[int, int]]]:
    """The first number's address, and the sizes and strides of all axes that have any, joined."""
    steps: list[tuple[int, int]] = []
    for size, stride in zip(view.shape, view.strides, strict=True):
        if size == 1:
            continue
        if steps and steps[-1][1] == size * stride:
            size *= steps.pop()[0]
        steps.append((size, stride))
    return view.ctypes.data, steps


def _copied(view: np.ndarray) -> np.ndarray:
    """In float32 and C order, a few outputs at a time.

    In the order of the copy, each number of a transposed array is read from another cache line,
    which is gone when its neighbour is wanted: that takes 2 to 4 times as long.
    """
    copy = memory.empty(view.shape)
    if view.flags.c_contiguous:
        copy[...] = view
        return copy
    for first in range(0, view.shape[-1], _OUTPUTS):
        outputs = slice(first, first + _OUTPUTS)
        copy[..., outputs] = view[..., outputs]
    return copy
