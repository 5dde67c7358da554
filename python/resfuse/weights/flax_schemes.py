"""Our own names: those of the variables of our networks, as Orbax keeps them."""

from resfuse.weights.names import unchanged
from resfuse.weights.scheme import FLAX, Scheme

__all__ = ["FLAX_SCHEMES"]

_KEYS = {
    "ResNet": "layer1.0.conv1.kernel",
    "ResNetV2": "stages.0.blocks.0.norm1.scale",
    "MobileNet": "stages.0.0.depthwise.conv.kernel",
    "ConvNeXt": "stages.0.blocks.0.gamma",
    "DenseNet": "denseblocks.0.0.conv1.kernel",
    "RegNet": "stages.0.0.a.conv.kernel",
    "VGG": "stages.0.0.conv.kernel",
}

FLAX_SCHEMES = tuple(
    Scheme("resfuse", family, unchanged, (key,), layout=FLAX) for family, key in _KEYS.items()
)
