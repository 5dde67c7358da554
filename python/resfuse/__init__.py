"""Fused convolution, batch norm, residual add and ReLU for JAX on CPUs."""

from resfuse.fuse import fuse
from resfuse.ops import conv_bn_relu, conv_bn_relu_train

__all__ = ["__version__", "conv_bn_relu", "conv_bn_relu_train", "fuse"]

__version__ = "0.1.0"
