"""Residual networks for Flax Linen on the fused op.

The modules hold plain ``nn.Conv`` and ``nn.BatchNorm`` submodules, so names, shapes, initial values
and checkpoints are those of the same network written in plain Flax. On the fused path the
submodules are read and not called: to capture their intermediates, use ``implementation="xla"``.
"""

from resfuse.linen.fused import conv_bn_relu
from resfuse.linen.resnet import (
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
from resfuse.linen.textbook import (
    BasicBlock,
    ResNetClassifier,
    resnet_basic_forward,
    resnet_classifier_forward,
)
from resfuse.models.architectures import Architecture

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
