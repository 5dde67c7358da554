"""Residual networks for Flax Linen on the fused op.

The modules hold plain ``nn.Conv`` and ``nn.BatchNorm`` submodules, so names, shapes, initial values
and checkpoints are those of the same network written in plain Flax. On the fused path the
submodules are read and not called: to capture their intermediates, use ``implementation="xla"``.
"""

from resfuse.linen import resnet, resnetv2, textbook
from resfuse.linen.fused import conv_alone, conv_bn_act, conv_bn_acts, conv_bn_relu
from resfuse.linen.loading import load
from resfuse.linen.resnet import *  # noqa: F403
from resfuse.linen.resnetv2 import *  # noqa: F403
from resfuse.linen.textbook import *  # noqa: F403
from resfuse.models.architectures import Architecture
from resfuse.models.preprocessing import Preprocessing
from resfuse.models.resnetv2 import ResNetV2Architecture

__all__ = [
    "Architecture",
    "Preprocessing",
    "ResNetV2Architecture",
    "conv_alone",
    "conv_bn_act",
    "conv_bn_acts",
    "conv_bn_relu",
    "load",
]
__all__ += resnet.__all__
__all__ += resnetv2.__all__
__all__ += textbook.__all__
