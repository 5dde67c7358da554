"""SiLU behind a batch norm, whose passes compute it themselves.

Its derivative follows from its argument, not from its value as a gate's does, and batch norm's
argument follows from the convolution's output, which the passes read in any case.
"""

import dataclasses

import jax
from jax import Array

from resfuse.kernel.call import Attribute

__all__ = ["SILU", "Silu"]


@dataclasses.dataclass(frozen=True)
class Silu:
    """``x * logistic(x)``, as plain JAX where it is called."""

    @property
    def attributes(self) -> dict[str, Attribute]:
        """What the handlers take, as :attr:`resfuse.kernel.gate.Gate.attributes`."""
        return {"gate": (), "at_least": False, "silu": True}

    def __call__(self, x: Array) -> Array:
        """The function itself."""
        return jax.nn.silu(x)


SILU = Silu()
