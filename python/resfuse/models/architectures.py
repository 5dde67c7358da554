"""The ResNets of torchvision as plain data, from which Linen and NNX each make their modules.

ResNet is He et al. 2015 with the stride of a bottleneck in its 3x3 convolution ("ResNet v1.5"),
Wide ResNet is Zagoruyko & Komodakis 2016, ResNeXt is Xie et al. 2016.
"""

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

__all__ = ["ARCHITECTURES", "Architecture", "BlockPlan", "ConvPlan", "plan_stages", "plan_stem"]

_BOTTLENECK_EXPANSION = 4
_BASE_WIDTH = 64  # the unit of width_per_group


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

    Raises:
        ValueError: For an unknown block, no stages, or a basic block with groups or another width.

    Example:
        >>> Architecture("basic", (3, 3, 3), features=16).out_features  # ResNet-20 for CIFAR
        64
    """

    block: Literal["basic", "bottleneck"]
    depths: tuple[int, ...]
    groups: int = 1
    width_per_group: int = _BASE_WIDTH
    features: int = 64

    def __post_init__(self) -> None:
        if self.block not in ("basic", "bottleneck"):
            raise ValueError(f'block must be "basic" or "bottleneck", got {self.block!r}')
        if not self.depths or min(self.depths) < 1:
            raise ValueError(f"depths must be one positive number a stage, got {self.depths}")
        if self.block == "basic" and (self.groups, self.width_per_group) != (1, _BASE_WIDTH):
            raise ValueError(
                "basic blocks have groups=1 and width_per_group=64, "
                f"got {self.groups} and {self.width_per_group}"
            )

    @property
    def expansion(self) -> int:
        """Output channels of a block as a multiple of the base width."""
        return 1 if self.block == "basic" else _BOTTLENECK_EXPANSION

    @property
    def out_features(self) -> int:
        """Channels of the last stage."""
        return int(self.features * 2 ** (len(self.depths) - 1) * self.expansion)


ARCHITECTURES: Mapping[str, Architecture] = {
    "ResNet18": Architecture("basic", (2, 2, 2, 2)),
    "ResNet34": Architecture("basic", (3, 4, 6, 3)),
    "ResNet50": Architecture("bottleneck", (3, 4, 6, 3)),
    "ResNet101": Architecture("bottleneck", (3, 4, 23, 3)),
    "ResNet152": Architecture("bottleneck", (3, 8, 36, 3)),
    "WideResNet50_2": Architecture("bottleneck", (3, 4, 6, 3), width_per_group=128),
    "WideResNet101_2": Architecture("bottleneck", (3, 4, 23, 3), width_per_group=128),
    "ResNeXt50_32x4d": Architecture("bottleneck", (3, 4, 6, 3), 32, 4),
    "ResNeXt101_32x8d": Architecture("bottleneck", (3, 4, 23, 3), 32, 8),
    "ResNeXt101_64x4d": Architecture("bottleneck", (3, 4, 23, 3), 64, 4),
}


@dataclasses.dataclass(frozen=True)
class ConvPlan:
    """A square convolution without bias that pads as much as its window reaches out."""

    in_features: int
    features: int
    size: int
    strides: int = 1
    dilation: int = 1
    groups: int = 1

    @property
    def padding(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """The same on all four sides, unlike ``"SAME"`` where a stride is 2."""
        pixels = self.dilation * (self.size // 2)
        return (pixels, pixels), (pixels, pixels)


@dataclasses.dataclass(frozen=True)
class BlockPlan:
    """The convolutions of a block in their order, and that of its skip, if it has one."""

    convs: tuple[ConvPlan, ...]
    downsample: ConvPlan | None


def plan_stem(architecture: Architecture, in_channels: int, cifar_stem: bool) -> ConvPlan:
    """The first convolution: 7x7 with stride 2, or 3x3 with stride 1 for small images."""
    size, strides = (3, 1) if cifar_stem else (7, 2)
    return ConvPlan(in_channels, architecture.features, size, strides)


def plan_stages(
    architecture: Architecture, replace_stride_with_dilation: Sequence[bool] | None = None
) -> tuple[tuple[BlockPlan, ...], ...]:
    """The blocks of each stage.

    Args:
        architecture: Which network.
        replace_stride_with_dilation: For every stage but the first, whether to keep the resolution
            and to dilate the 3x3 convolutions from there on instead. The first block of such a
            stage still has the dilation of the stage before, as in torchvision.

    Raises:
        ValueError: If there is not one flag for each of these stages, or where basic blocks, which
            have no dilation in torchvision, are to dilate.

    Example:
        >>> stages = plan_stages(ARCHITECTURES["ResNet50"], (False, False, True))
        >>> [block.convs[1].dilation for block in stages[-1]]
        [1, 2, 2]
    """
    flags = _check_flags(architecture, replace_stride_with_dilation)
    in_features, dilation = architecture.features, 1
    stages = []
    for index, (depth, dilates) in enumerate(zip(architecture.depths, flags, strict=True)):
        base = architecture.features * 2**index
        stride = 2 if index > 0 else 1
        first = (1, dilation) if dilates else (stride, dilation)
        dilation = dilation * stride if dilates else dilation
        widths = [in_features] + [base * architecture.expansion] * (depth - 1)
        settings = itertools.chain([first], itertools.repeat((1, dilation)))
        stages.append(
            tuple(
                _plan_block(architecture, base, width, *setting)
                for width, setting in zip(widths, settings, strict=False)
            )
        )
        in_features = base * architecture.expansion
    return tuple(stages)


def _check_flags(architecture: Architecture, flags: Sequence[bool] | None) -> Iterator[bool]:
    """One flag for every stage: the first has no stride to replace."""
    count = len(architecture.depths) - 1
    flags = (False,) * count if flags is None else tuple(flags)
    if len(flags) != count:
        raise ValueError(
            f"replace_stride_with_dilation must be None or {count} booleans, got {flags}"
        )
    if architecture.block == "basic" and any(flags):
        raise ValueError("basic blocks do not dilate: replace_stride_with_dilation must be False")
    return iter((False, *flags))


def _plan_block(
    architecture: Architecture, base: int, in_features: int, strides: int, dilation: int
) -> BlockPlan:
    features = base * architecture.expansion
    convs: tuple[ConvPlan, ...]
    if architecture.block == "basic":
        convs = ConvPlan(in_features, base, 3, strides), ConvPlan(base, base, 3)
    else:
        width = int(base * architecture.width_per_group / _BASE_WIDTH) * architecture.groups
        convs = (
            ConvPlan(in_features, width, 1),
            ConvPlan(width, width, 3, strides, dilation, architecture.groups),
            ConvPlan(width, features, 1),
        )
    projects = strides != 1 or in_features != features
    return BlockPlan(convs, ConvPlan(in_features, features, 1, strides) if projects else None)
