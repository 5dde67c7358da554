"""What every derivative rule of the kernel's needs."""

import jax
from jax import Array

from resfuse.jax_compat import reverse_only

__all__ = ["FORWARD_MODE", "refuse_forward_mode", "varying_like"]

FORWARD_MODE = (
    "resfuse's kernel cannot be differentiated in forward mode (jvp, jacfwd, linearize); "
    'pass implementation="xla" to differentiate the reference, '
    "or differentiate the function that fuse was given"
)

refuse_forward_mode = reverse_only(FORWARD_MODE)
"""Returns its argument; differentiates in reverse mode only."""


def varying_like(cotangent: Array, primal: Array) -> Array:
    """``cotangent``, summed over the devices of a ``shard_map`` that share ``primal``.

    Adding what differs from device to device is what makes a shared array differ; JAX's transpose
    of that is the sum. The addition itself is never computed.
    """
    _, pull = jax.vjp(lambda primal: primal + cotangent, primal)
    total: Array = pull(cotangent)[0]
    return total
