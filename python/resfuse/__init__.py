"""Fused convolution, batch norm, residual add and activation for JAX on CPUs."""

from typing import TYPE_CHECKING, Any

from resfuse.fusion.fuse import explain, fuse
from resfuse.kernel import extension as ffi
from resfuse.ops import conv_bn_act, conv_bn_act_train, conv_bn_relu, conv_bn_relu_train
from resfuse.weights.errors import MismatchError, WeightsError
from resfuse.weights.saving import save

if TYPE_CHECKING:
    from resfuse.nnx import load

__all__ = [
    "MismatchError",
    "WeightsError",
    "__version__",
    "conv_bn_act",
    "conv_bn_act_train",
    "conv_bn_relu",
    "conv_bn_relu_train",
    "explain",
    "ffi",
    "fuse",
    "load",
    "save",
]

__version__ = "0.2.0"


def __getattr__(name: str) -> Any:
    """``load`` when it is wanted, since it brings Flax, which takes a second."""
    if name != "load":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from resfuse.nnx import load

    return load
