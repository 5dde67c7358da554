"""A program on the kernel leaves the heap of its host alone."""

import ctypes
import platform
from pathlib import Path

import jax.numpy as jnp
import pytest

import resfuse

PIECE, PIECES = 64 << 10, 1000  # bytes; too small for mappings of their own


def resident() -> int:
    """Bytes of memory that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def conv(images: int) -> None:
    """A new program for each number of images."""
    ones = jnp.ones(8)
    x, kernel = jnp.ones((images, 5, 5, 8)), jnp.ones((3, 3, 8, 8))
    resfuse.conv_bn_relu(x, kernel, ones, ones, ones, ones).block_until_ready()


class Leftovers:
    """Memory that its host has freed, and that malloc keeps for it."""

    def __init__(self) -> None:
        libc = ctypes.CDLL(None)
        libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
        libc.free.argtypes = [ctypes.c_void_p]
        pieces = [libc.malloc(PIECE) for _ in range(PIECES)]
        for piece in pieces:
            ctypes.memset(piece, 1, PIECE)
        for piece in pieces[:-1]:  # the last one stays, or malloc would return them by itself
            libc.free(piece)
        self.resident = resident()

    def gone(self) -> float:
        """The share of it that the system has got back."""
        return (self.resident - resident()) / (PIECE * PIECES)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc keeps and returns memory")
def test_a_new_program_gives_nothing_back():
    conv(1)  # sets XLA's compiler up, which takes memory
    for _ in range(2):
        leftovers = Leftovers()
        conv(2)
        assert leftovers.gone() < 1 / 4
