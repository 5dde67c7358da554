"""Calls like the one before, for which few checks are enough.

Between two runs of a network little of Python's is left in the processor's caches: what a call asks
before it knows its program, 9 us by itself, takes 100 of the 1700 us of a MobileNetV2 on one image.
Most of it JAX asks again, in C++: a function under ``jax.jit`` that is called with other types, or
where other settings are in force, is traced again. What runs refuses that, and so it needs to be
asked only what JAX does not ask.
"""

import contextlib
import contextvars
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np

from resfuse.jax_compat import is_eager
from resfuse.kernel import extension

__all__ = ["Repetition", "UnlikeError", "compiling", "refuse_others"]


class UnlikeError(Exception):
    """The call is another than the one before."""


_compiled: contextvars.ContextVar[Any] = contextvars.ContextVar("_compiled", default=None)


@contextlib.contextmanager
def compiling(program: Any) -> Iterator[None]:
    """Within, what runs the program may be traced."""
    token = _compiled.set(program)
    try:
        yield
    finally:
        _compiled.reset(token)


def refuse_others(program: Any) -> None:
    """Where what runs the program is traced.

    Raises:
        UnlikeError: JAX traces it for a call that is not like the one before.
    """
    if _compiled.get() is not program:
        raise UnlikeError


class Repetition:
    """What ran, and what else is asked of a call to run it again."""

    def __init__(
        self, run: Callable[..., Any], arrays: Sequence[Any], args: tuple[Any, ...]
    ) -> None:
        """After a call.

        Args:
            run: what ran, under ``jax.jit``.
            arrays: its first arguments, which are the program's own.
            args: the call's, all of which are arrays.
        """
        self._run, self._arrays = run, arrays
        self._kinds, self._types = [*map(type, args)], [*map(_type, args)]
        self._isa = extension.isa()

    @staticmethod
    def is_possible(args: tuple[Any, ...]) -> bool:
        """Whether there may be one after a call with these arguments."""
        return all(isinstance(arg, jax.Array | np.ndarray) for arg in args)

    def is_like(self, args: tuple[Any, ...]) -> bool:
        """Whether this may run for these arguments, in all that JAX does not ask by itself.

        But for the default kind of random numbers: after programs that have any there is none. And
        in shapes, which change often: to be refused takes a millisecond.
        """
        return (
            [*map(type, args)] == self._kinds
            and [*map(_type, args)] == self._types
            and extension.isa() == self._isa
            and is_eager()
        )

    def __call__(self, args: tuple[Any, ...]) -> Any:
        """The result.

        Raises:
            UnlikeError: in what JAX asks, the call is another.
        """
        return self._run(*self._arrays, *args)


def _type(array: Any) -> tuple[Any, ...]:
    """NumPy's arrays have no sharding."""
    return array.shape, array.dtype, getattr(array, "sharding", None)
