"""Fused convolution, batch norm, residual add and activation for JAX on CPUs."""

from resfuse.fusion.fuse import explain, fuse
from resfuse.kernel import extension as ffi
from resfuse.ops import conv_bn_act, conv_bn_act_train, conv_bn_relu, conv_bn_relu_train
from resfuse.weights.errors import MismatchError, WeightsError
from resfuse.weights.saving import save

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
    "save",
]

__version__ = "0.2.0"
