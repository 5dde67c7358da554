"""A mapped array as a file, so that only what is read is in memory."""

import io
import mmap
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["MappedFile", "forget", "is_mapped"]

_WORTH_FORGETTING = 1 << 20  # bytes
_LONGEST_LINE = 1000  # of a pickle, whose lines are names


class MappedFile(io.RawIOBase):
    """Reads an array of bytes."""

    def __init__(self, data: np.ndarray) -> None:
        self.data, self.position = data, 0
        # A pickle is read by the byte, and numpy takes twice as long for one.
        self._bytes = memoryview(data)

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Moves to a position, which can be beyond the end."""
        origin = {os.SEEK_SET: 0, os.SEEK_CUR: self.position, os.SEEK_END: len(self.data)}[whence]
        if origin + offset < 0:
            raise OSError("before the beginning of the file")
        self.position = origin + offset
        return self.position

    def take(self, size: int) -> np.ndarray:
        """As many bytes as are left of these, as a view."""
        found = self.data[self.position : self.position + size]
        self.position += len(found)
        return found

    def readinto(self, buffer: Any) -> int:
        """As many bytes as there are, and as the buffer takes."""
        found = self.take(len(buffer))
        buffer[: len(found)] = found.tobytes()
        return len(found)

    def read(self, size: int | None = -1) -> bytes:
        """As many bytes as are left of these."""
        # That of the base class makes a buffer of any size that a broken file asks for.
        end = len(self.data) if size is None or size < 0 else self.position + size
        found = self._bytes[self.position : end].tobytes()
        self.position += len(found)
        return found

    def readline(self, size: int | None = -1) -> bytes:
        """To the end of a line, or of what a line can be."""
        # That of the base class reads byte by byte.
        longest = _LONGEST_LINE if size is None or size < 0 else min(size, _LONGEST_LINE)
        line = self._bytes[self.position : self.position + longest].tobytes()
        return self.read(line.find(b"\n") + 1 or len(line))


def is_mapped(array: np.ndarray) -> bool:
    """Whether it is a view of a mapped file."""
    return _mapping(array) is not None


def forget(arrays: Sequence[np.ndarray]) -> None:
    """Gives back the memory of the file of which large arrays are views; it can be read again.

    What a process has read of a mapped file counts as its memory, so that without this a model
    takes, while it is loaded, twice its size.
    """
    mapping = _mapping(arrays[0]) if arrays else None
    if mapping is not None and sum(array.nbytes for array in arrays) >= _WORTH_FORGETTING:
        mapping.madvise(mmap.MADV_DONTNEED)


def _mapping(array: np.ndarray) -> mmap.mmap | None:
    base: Any = array
    while base is not None and not isinstance(base, mmap.mmap):
        base = getattr(base, "base", None)
    return base
