"""What every derivative rule of the kernel's needs."""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
from jax import Array

from resfuse.jax_compat import reverse_only
from resfuse.purpose import Purpose, purpose

__all__ = ["FORWARD_MODE", "bare", "refuse_forward_mode", "varying_like"]

_Function = TypeVar("_Function", bound=Callable[..., Any])
_Tree = TypeVar("_Tree")

FORWARD_MODE = (
    "resfuse's kernel cannot be differentiated in forward mode (jvp, jacfwd, linearize); "
    'pass implementation="xla" to differentiate the reference, '
    "or differentiate the function that fuse was given"
)

_in_reverse_only = reverse_only(FORWARD_MODE)


def refuse_forward_mode(arrays: _Tree) -> _Tree:
    """Returns its argument; differentiates in reverse mode only."""
    return arrays if purpose() is Purpose.RUNNING else _in_reverse_only(arrays)


def bare(function: _Function) -> _Function:
    """A ``jax.custom_vjp`` function without its rules, where nothing will ask for them."""
    plain: _Function = function.__wrapped__  # type: ignore[attr-defined]
    return plain if purpose() is Purpose.RUNNING else function


def varying_like(cotangent: Array, primal: Array) -> Array:
    """``cotangent``, summed over the devices of a ``shard_map`` that share ``primal``.

    Adding what differs from device to device is what makes a shared array differ; JAX's transpose
    of that is the sum. The addition itself is never computed.
    """
    _, pull = jax.vjp(lambda primal: primal + cotangent, primal)
    total: Array = pull(cotangent)[0]
    return total
