"""Calls on some images of whole batches, a portion, which they read and write where these lie.

A loop over portions would copy each out of its input and into its output: XLA has no views.
"""

import contextlib
import contextvars
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

__all__ = ["Native", "Portion", "empty", "on_portion"]


class Native(NamedTuple):
    """A call of the extension as XLA takes it."""

    operands: Sequence[Array]
    types: Sequence[Any]
    aliases: Mapping[int, int]
    attributes: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Portion:
    """Images ``[index * images, (index + 1) * images)`` of whole batches.

    Attributes:
        index: ``()``, an integer.
        images: of a portion.
        whole: an array with all images.
        part: this portion of it. A call whose first operand it is reads ``whole`` in its place.
        into: an array with all images: a call whose first result is a portion of it writes that
            there, and returns all of it. None if results are the portion alone.
    """

    index: Array
    images: int
    whole: Array
    part: Array
    into: Array | None = None

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """Within, calls are on this portion."""
        token = _IN_USE.set(self)
        try:
            yield
        finally:
            _IN_USE.reset(token)

    def lowered(self, call: Native) -> Native:
        """The call as it is on whole arrays, where it can be."""
        operands, types, aliases = list(call.operands), list(call.types), call.aliases
        reads, into = operands[0] is self.part, self._into(types[0])
        if not reads and into is None:
            return call
        if reads:
            operands[0] = self.whole
        if into is not None:
            types[0] = jax.ShapeDtypeStruct(into.shape, into.dtype)
            aliases = {len(operands): 0}
            operands.append(into)
        operands.append(self.index.astype(jnp.int32))
        numbers = {"images": self.images, "reads": reads, "writes": into is not None}
        attributes = {f"portion_{name}": value for name, value in numbers.items()}
        return Native(operands, types, aliases, {**call.attributes, **attributes})

    def _into(self, result: Any) -> Array | None:
        """``into``, if such a result is a portion of it: a folded call (fold.py) has none."""
        fits = self.into is not None and result.shape[1:] == self.into.shape[1:]
        return self.into if fits else None


_IN_USE: contextvars.ContextVar[Portion | None] = contextvars.ContextVar("portion", default=None)


def on_portion(call: Native) -> Native:
    """The call on the portion in use, if there is one."""
    portion = _IN_USE.get()
    return call if portion is None else portion.lowered(call)


def empty(shape: Sequence[int]) -> Array:
    """An array of any numbers, to be written into: on CPUs XLA fills ``jax.lax.empty``'s."""
    array: Array = jax.ffi.ffi_call("resfuse_empty", jax.ShapeDtypeStruct(shape, jnp.float32))()
    return array
