"""The ResNets of torchvision and timm as plain data, from which Linen and NNX make their modules.

ResNet is He et al. 2015 with the stride of a bottleneck in its 3x3 convolution ("ResNet v1.5"),
Wide ResNet is Zagoruyko & Komodakis 2016, ResNeXt is Xie et al. 2016. The variants D and T are He
et al. 2018 and timm's, squeeze and excitation (SE) is Hu et al. 2017, and efficient channel
attention (ECA) Wang et al. 2019.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Literal

from resfuse.models.convention import TORCH, Convention
from resfuse.models.preprocessing import IMAGENET, Preprocessing

__all__ = ["ARCHITECTURES", "BASE_WIDTH", "Architecture", "Attention"]

BASE_WIDTH = 64  # the unit of width_per_group
_BOTTLENECK_EXPANSION = 4


Stem = Literal["plain", "deep", "tiered"]
Attention = Literal["se", "eca"] | None


@dataclasses.dataclass(frozen=True)
class Architecture:
    """What tells one ResNet from another.

    Attributes:
        block: ``"basic"`` (two 3x3 convolutions) or ``"bottleneck"`` (1x1, 3x3, 1x1).
        depths: Blocks in each stage. Every stage but the first has stride 2.
        groups: Groups of the 3x3 convolution of a bottleneck.
        width_per_group: Channels of one of these groups, where the stage has its base width of 64.
        features: Channels after the stem, and base width of the first stage; it doubles with
            every stage. A bottleneck gives four times the base width.
        stem: A 7x7 convolution, or three of 3x3, of which the first two have half the features
            (``"deep"``), or the first three eighths (``"tiered"``).
        average_skip: Whether the skip of a block with a stride takes means of 2x2 pixels.
        attention: What scales the channels at the end of a block: squeeze and excitation, ECA.
        use_bias: Whether the convolutions have biases, as in Keras.
        stride_first: Whether a bottleneck's stride is in its first 1x1 convolution, as in the paper
            and in Keras, not in its 3x3.
        convention: How batch norms count.
        preprocessing: That of the published weights.

    Raises:
        ValueError: For an unknown block, no stages, or a basic block with groups or another width.

    Example:
        >>> Architecture("basic", (3, 3, 3), features=16).out_features  # ResNet-20 for CIFAR
        64
    """

    block: Literal["basic", "bottleneck"]
    depths: tuple[int, ...]
    groups: int = 1
    width_per_group: int = BASE_WIDTH
    features: int = 64
    stem: Stem = "plain"
    average_skip: bool = False
    attention: Attention = None
    use_bias: bool = False
    stride_first: bool = False
    convention: Convention = TORCH
    preprocessing: Preprocessing = IMAGENET

    def __post_init__(self) -> None:
        if self.block not in ("basic", "bottleneck"):
            raise ValueError(f'block must be "basic" or "bottleneck", got {self.block!r}')
        if not self.depths or min(self.depths) < 1:
            raise ValueError(f"depths must be one positive number a stage, got {self.depths}")
        if self.block == "basic" and (self.groups, self.width_per_group) != (1, BASE_WIDTH):
            raise ValueError(
                "basic blocks have groups=1 and width_per_group=64, "
                f"got {self.groups} and {self.width_per_group}"
            )
        if self.stem not in ("plain", "deep", "tiered"):
            raise ValueError(f'stem must be "plain", "deep" or "tiered", got {self.stem!r}')
        if self.attention not in (None, "se", "eca"):
            raise ValueError(f'attention must be None, "se" or "eca", got {self.attention!r}')

    @property
    def expansion(self) -> int:
        """Output channels of a block as a multiple of the base width."""
        return 1 if self.block == "basic" else _BOTTLENECK_EXPANSION

    @property
    def out_features(self) -> int:
        """Channels of the last stage."""
        return int(self.features * 2 ** (len(self.depths) - 1) * self.expansion)


def _variant(base: Architecture, stem: Stem = "deep", attention: Attention = None) -> Architecture:
    """With timm's stem and skips, attention and preprocessing."""
    return dataclasses.replace(
        base,
        stem=stem,
        average_skip=stem != "plain",
        attention=attention,
        preprocessing=dataclasses.replace(IMAGENET, interpolation="bicubic"),
    )


_RETRAINED = Preprocessing(224, 232)  # torchvision's second set of weights
_BOTTLENECK = functools.partial(Architecture, "bottleneck", preprocessing=_RETRAINED)
_RESNET18 = Architecture("basic", (2, 2, 2, 2))
_RESNET34 = Architecture("basic", (3, 4, 6, 3))
_RESNET50 = _BOTTLENECK((3, 4, 6, 3))
_RESNET101 = _BOTTLENECK((3, 4, 23, 3))
_RESNET152 = _BOTTLENECK((3, 8, 36, 3))
_RESNEXT50 = _BOTTLENECK((3, 4, 6, 3), 32, 4)

ARCHITECTURES: Mapping[str, Architecture] = {
    "ResNet18": _RESNET18,
    "ResNet34": _RESNET34,
    "ResNet50": _RESNET50,
    "ResNet101": _RESNET101,
    "ResNet152": _RESNET152,
    "WideResNet50_2": _BOTTLENECK((3, 4, 6, 3), width_per_group=128),
    "WideResNet101_2": _BOTTLENECK((3, 4, 23, 3), width_per_group=128),
    "ResNeXt50_32x4d": _RESNEXT50,
    "ResNeXt101_32x8d": _BOTTLENECK((3, 4, 23, 3), 32, 8),
    "ResNeXt101_64x4d": _BOTTLENECK((3, 4, 23, 3), 64, 4),
    "ResNet18D": _variant(_RESNET18),
    "ResNet34D": _variant(_RESNET34),
    "ResNet50D": _variant(_RESNET50),
    "ResNet101D": _variant(_RESNET101),
    "ResNet152D": _variant(_RESNET152),
    "SEResNet50": _variant(_RESNET50, "plain", "se"),
    "SEResNeXt50_32x4d": _variant(_RESNEXT50, "plain", "se"),
    "ECAResNet50D": _variant(_RESNET50, "deep", "eca"),
    "ECAResNet50T": _variant(_RESNET50, "tiered", "eca"),
    "ECAResNet101D": _variant(_RESNET101, "deep", "eca"),
}
