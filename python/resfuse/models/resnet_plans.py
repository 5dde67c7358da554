"""The convolutions of a ResNet, block by block, from its architecture."""

import dataclasses
import functools
import itertools
import math
from collections.abc import Iterator, Sequence

from resfuse.models.architectures import BASE_WIDTH, Architecture, Attention

__all__ = ["BlockPlan", "ConvPlan", "plan_stages", "plan_stem"]


@dataclasses.dataclass(frozen=True)
class ConvPlan:
    """A square convolution that pads as much as its window reaches out."""

    in_features: int
    features: int
    size: int
    strides: int = 1
    dilation: int = 1
    groups: int = 1
    use_bias: bool = False

    @property
    def padding(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """The same on all four sides, unlike ``"SAME"`` where a stride is 2."""
        pixels = self.dilation * (self.size // 2)
        return (pixels, pixels), (pixels, pixels)


@dataclasses.dataclass(frozen=True)
class BlockPlan:
    """A block.

    Attributes:
        convs: Its convolutions in their order.
        downsample: That of its skip, if it has one.
        average_skip: Whether means of 2x2 pixels come before it, where the block has a stride.
            Without a convolution, the skip of such a block takes every second pixel.
        attention: What scales the channels at the end.
    """

    convs: tuple[ConvPlan, ...]
    downsample: ConvPlan | None
    average_skip: bool = False
    attention: Attention = None

    @property
    def strides(self) -> int:
        """Of the block."""
        return math.prod(conv.strides for conv in self.convs)

    @property
    def halves(self) -> bool:
        """Whether the skip takes means."""
        return self.average_skip and self.strides != 1

    @property
    def skip_names(self) -> tuple[str, str]:
        """Of its convolution and norm in torch's ``Sequential``, which a pool can begin."""
        return ("1", "2") if self.average_skip else ("0", "1")

    @property
    def features(self) -> int:
        """Channels of the output."""
        return self.convs[-1].features

    @property
    def squeezed(self) -> int:
        """Channels inside squeeze and excitation: a sixteenth, as a multiple of 8."""
        return max(8, (self.features // 16 + 4) // 8 * 8)

    @property
    def attention_size(self) -> int:
        """Neighbours that efficient channel attention looks at: odd, near half the logarithm."""
        size = int((math.log2(self.features) + 1) / 2)
        return max(3, size + 1 - size % 2)


def plan_stem(
    architecture: Architecture, in_channels: int, cifar_stem: bool
) -> tuple[ConvPlan, ...]:
    """The first convolutions; for small images it is one of 3x3 with stride 1."""
    conv = functools.partial(ConvPlan, use_bias=architecture.use_bias)
    features = architecture.features
    if cifar_stem:
        return (conv(in_channels, features, 3),)
    if architecture.stem == "plain":
        return (conv(in_channels, features, 7, 2),)
    half = features // 2
    first = half if architecture.stem == "deep" else half // 4 * 3
    return conv(in_channels, first, 3, 2), conv(first, half, 3), conv(half, features, 3)


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
            have no dilation in torchvision, or averaged skips are to dilate.

    Example:
        >>> from resfuse.models.architectures import ARCHITECTURES
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
    if architecture.average_skip and any(flags):
        raise ValueError("average_skip does not dilate: replace_stride_with_dilation must be False")
    return iter((False, *flags))


def _plan_block(
    architecture: Architecture, base: int, in_features: int, strides: int, dilation: int
) -> BlockPlan:
    conv = functools.partial(ConvPlan, use_bias=architecture.use_bias)
    features = base * architecture.expansion
    convs: tuple[ConvPlan, ...]
    if architecture.block == "basic":
        convs = conv(in_features, base, 3, strides), conv(base, base, 3)
    else:
        width = int(base * architecture.width_per_group / BASE_WIDTH) * architecture.groups
        first, second = (strides, 1) if architecture.stride_first else (1, strides)
        convs = (
            conv(in_features, width, 1, first),
            conv(width, width, 3, second, dilation, architecture.groups),
            conv(width, features, 1),
        )
    projects = strides != 1 or in_features != features
    averages = architecture.average_skip
    downsample = conv(in_features, features, 1, 1 if averages else strides)
    return BlockPlan(convs, downsample if projects else None, averages, architecture.attention)
