"""Fused convolution, batch norm, residual add and ReLU for JAX on CPUs."""

from resfuse.ops import conv_bn_relu, conv_bn_relu_train

__all__ = ["__version__", "conv_bn_relu", "conv_bn_relu_train"]

__version__ = "0.1.0"
