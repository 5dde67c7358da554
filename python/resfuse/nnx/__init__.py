"""Residual networks for Flax NNX on the fused op.

The modules hold plain ``nnx.Conv`` and ``nnx.BatchNorm`` attributes, so state, initial values and
checkpoints are those of the same network written in plain Flax. On the fused path the two are read
and not called: to capture their intermediates, use ``implementation="xla"``.
"""

from resfuse.models.architectures import Architecture
from resfuse.nnx.fused import conv_bn_relu
from resfuse.nnx.resnet import (
    ResNet,
    ResNet18,
    ResNet34,
    ResNet50,
    ResNet101,
    ResNet152,
    ResNeXt50_32x4d,
    ResNeXt101_32x8d,
    ResNeXt101_64x4d,
    WideResNet50_2,
    WideResNet101_2,
)
from resfuse.nnx.textbook import (
    BasicBlock,
    ResNetClassifier,
    resnet_basic_forward,
    resnet_classifier_forward,
)

__all__ = [
    "Architecture",
    "BasicBlock",
    "ResNeXt50_32x4d",
    "ResNeXt101_32x8d",
    "ResNeXt101_64x4d",
    "ResNet",
    "ResNet18",
    "ResNet34",
    "ResNet50",
    "ResNet101",
    "ResNet152",
    "ResNetClassifier",
    "WideResNet50_2",
    "WideResNet101_2",
    "conv_bn_relu",
    "resnet_basic_forward",
    "resnet_classifier_forward",
]
