"""Convolutional networks for Flax NNX.

The modules hold plain ``nnx.Conv`` and ``nnx.BatchNorm`` attributes, so state, initial values and
checkpoints are those of the same network written in plain Flax. Those with an ``implementation``
run on the fused op: the two are read and not called, and to capture their intermediates, use
``implementation="xla"``. Any of them runs on the kernel through :func:`resfuse.fuse`.
"""

from resfuse.models.architectures import Architecture
from resfuse.models.convnext import ConvNeXtArchitecture
from resfuse.models.densenet import DenseNetArchitecture
from resfuse.models.mobilenet import MobileNetArchitecture
from resfuse.models.preprocessing import Preprocessing
from resfuse.models.regnet import RegNetArchitecture
from resfuse.models.resnetv2 import ResNetV2Architecture
from resfuse.models.vgg import VGGArchitecture
from resfuse.nnx import convnext, densenet, mobilenet, regnet, resnet, resnetv2, textbook, vgg
from resfuse.nnx.convnext import *  # noqa: F403
from resfuse.nnx.densenet import *  # noqa: F403
from resfuse.nnx.fused import conv_alone, conv_bn_act, conv_bn_acts, conv_bn_relu
from resfuse.nnx.loading import load
from resfuse.nnx.mobilenet import *  # noqa: F403
from resfuse.nnx.network import Network
from resfuse.nnx.regnet import *  # noqa: F403
from resfuse.nnx.resnet import *  # noqa: F403
from resfuse.nnx.resnetv2 import *  # noqa: F403
from resfuse.nnx.textbook import *  # noqa: F403
from resfuse.nnx.vgg import *  # noqa: F403

__all__ = [
    "Architecture",
    "ConvNeXtArchitecture",
    "DenseNetArchitecture",
    "MobileNetArchitecture",
    "Network",
    "Preprocessing",
    "RegNetArchitecture",
    "ResNetV2Architecture",
    "VGGArchitecture",
    "conv_alone",
    "conv_bn_act",
    "conv_bn_acts",
    "conv_bn_relu",
    "load",
]
__all__ += convnext.__all__
__all__ += densenet.__all__
__all__ += mobilenet.__all__
__all__ += regnet.__all__
__all__ += resnet.__all__
__all__ += resnetv2.__all__
__all__ += textbook.__all__
__all__ += vgg.__all__
