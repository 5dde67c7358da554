"""What the layers of one network share, and the initial values that several of them start from."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal

import jax
from jax import Array
from jax.nn import initializers

__all__ = [
    "ACTIVATIONS",
    "KAIMING",
    "TENSORFLOW",
    "TORCH",
    "Activation",
    "Convention",
    "uniform_within",
]

Activation = Literal["relu", "relu6", "silu", "hard_swish"]

ACTIVATIONS: Mapping[str, Callable[[Array], Array]] = {
    "relu": jax.nn.relu,
    "relu6": jax.nn.relu6,
    "silu": jax.nn.silu,
    "hard_swish": jax.nn.hard_swish,
}

# ``kaiming_normal_(mode="fan_out")``, which counts all output channels, whatever the groups.
KAIMING = initializers.variance_scaling(2.0, "fan_out", "normal")


def uniform_within(bound: float) -> initializers.Initializer:
    """Initial values between ``-bound`` and ``bound``."""

    def init(key: Array, shape: Any, dtype: Any = None, out_sharding: Any = None) -> Array:
        del out_sharding
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return init


@dataclasses.dataclass(frozen=True)
class Convention:
    """How a network's convolutions pad and how its batch norms count.

    Attributes:
        same_padding: Whether a convolution pads as TensorFlow does (``"SAME"``: an odd number of
            zeros has one more at the end, and a stride can need fewer), or as torch does: as much
            as the window reaches out, on every side.
        epsilon: What a batch norm adds to the variance.
        momentum: The weight of the old value in a running statistic; torch's is that of the new.

    Example:
        >>> TORCH.padding(5), TENSORFLOW.padding(5)
        (((2, 2), (2, 2)), 'SAME')
    """

    same_padding: bool = False
    epsilon: float = 1e-5
    momentum: float = 0.9

    @property
    def batch_norm(self) -> dict[str, Any]:
        """For ``BatchNorm``."""
        return {"momentum": self.momentum, "epsilon": self.epsilon}

    def padding(self, size: int) -> Any:
        """That of a square convolution of this size, as ``nnx.Conv`` takes it."""
        pixels = size // 2
        return "SAME" if self.same_padding else ((pixels, pixels), (pixels, pixels))


TORCH = Convention()
TENSORFLOW = Convention(same_padding=True, epsilon=1e-3, momentum=0.99)
