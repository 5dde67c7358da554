"""Fused convolution, batch norm, residual add and ReLU for JAX on CPUs."""

from resfuse.fuse import explain, fuse
from resfuse.ops import conv_bn_relu, conv_bn_relu_train

__all__ = ["__version__", "conv_bn_relu", "conv_bn_relu_train", "explain", "fuse"]

__version__ = "0.1.0"
