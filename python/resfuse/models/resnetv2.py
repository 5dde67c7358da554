"""Pre-activation ResNets as plain data (He et al. 2016), as timm has them.

Those of Big Transfer (Kolesnikov et al. 2019) have group norms and standardized kernels.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, Literal

import jax.numpy as jnp
from jax import Array, lax

from resfuse.kernel import pool
from resfuse.models.convention import TORCH, Convention
from resfuse.models.preprocessing import CENTRE, Preprocessing
from resfuse.models.resnet_plans import BlockPlan, ConvPlan
from resfuse.models.torchvision_layers import conv_settings, max_pool

__all__ = [
    "RESNETS_V2",
    "ResNetV2Architecture",
    "conv_v2_settings",
    "norm_settings",
    "plan_blocks",
    "plan_first_layers",
    "pool_stem",
]

_GROUPS = 32  # of a group norm
_EPSILON = 1e-8  # in the deviation of a kernel
_TIMM = Preprocessing(224, 235, interpolation="bicubic", mean=CENTRE, deviation=CENTRE)


@dataclasses.dataclass(frozen=True)
class ResNetV2Architecture:
    """What tells one pre-activation ResNet from another.

    Attributes:
        block: ``"basic"`` (two 3x3 convolutions) or ``"bottleneck"`` (1x1, 3x3, 1x1).
        depths: Blocks in each stage. Every stage but the first has stride 2.
        features: Channels of each stage.
        stem_features: Channels before the first stage.
        deep: Whether the stem is three 3x3 convolutions, not one of 7x7, and a skip that halves the
            resolution takes means of 2x2 pixels.
        norm: Of batches, or of groups of channels.
        big_transfer: Whether kernels are standardized, and the max pool pads with zeros.
        keras: Whether, as in Keras, all strides but the stem's are in the last blocks of stages,
            whose skips take every second pixel, the max pool pads with zeros, and the convolutions
            that no norm follows, the skips' among them, have biases.
        convention: How batch norms count.
        preprocessing: That of the published weights.

    Raises:
        ValueError: For an unknown block or norm.
    """

    block: Literal["basic", "bottleneck"]
    depths: tuple[int, ...]
    features: tuple[int, ...] = (256, 512, 1024, 2048)
    stem_features: int = 64
    deep: bool = False
    norm: Literal["batch", "group"] = "batch"
    big_transfer: bool = False
    keras: bool = False
    convention: Convention = TORCH
    preprocessing: Preprocessing = _TIMM

    def __post_init__(self) -> None:
        if self.block not in ("basic", "bottleneck"):
            raise ValueError(f'block must be "basic" or "bottleneck", got {self.block!r}')
        if self.norm not in ("batch", "group"):
            raise ValueError(f'norm must be "batch" or "group", got {self.norm!r}')


def plan_first_layers(architecture: ResNetV2Architecture, in_channels: int) -> list[ConvPlan]:
    """The convolutions of the stem; all but the last are followed by a norm."""
    features = architecture.stem_features
    if not architecture.deep:
        return [ConvPlan(in_channels, features, 7, 2, use_bias=architecture.keras)]
    half = features // 2
    return [ConvPlan(in_channels, half, 3, 2), ConvPlan(half, half, 3), ConvPlan(half, features, 3)]


def plan_blocks(architecture: ResNetV2Architecture) -> tuple[tuple[BlockPlan, ...], ...]:
    """The blocks of each stage."""
    in_features, stages = architecture.stem_features, []
    for stage, (depth, features) in enumerate(
        zip(architecture.depths, architecture.features, strict=True)
    ):
        blocks = []
        for index in range(depth):
            position = _strided_block(architecture, stage)
            strides = 2 if index == position else 1
            blocks.append(_plan_block(architecture, in_features, features, strides, index == 0))
            in_features = features
        stages.append(tuple(blocks))
    return tuple(stages)


def _strided_block(architecture: ResNetV2Architecture, stage: int) -> int | None:
    """The first of every stage but the first, or the last of every stage but the last."""
    if architecture.keras:
        return None if stage == len(architecture.depths) - 1 else architecture.depths[stage] - 1
    return 0 if stage else None


def _plan_block(
    architecture: ResNetV2Architecture, in_features: int, features: int, strides: int, first: bool
) -> BlockPlan:
    convs: tuple[ConvPlan, ...]
    if architecture.block == "basic":
        convs = ConvPlan(in_features, features, 3, strides), ConvPlan(features, features, 3)
        projects = strides != 1 or in_features != features
    else:
        width = features // 4
        convs = (
            ConvPlan(in_features, width, 1),
            ConvPlan(width, width, 3, strides),
            ConvPlan(width, features, 1, use_bias=architecture.keras),
        )
        projects = first
    stride = 1 if architecture.deep else strides
    skip = ConvPlan(in_features, features, 1, stride, use_bias=architecture.keras)
    return BlockPlan(convs, skip if projects else None, architecture.deep)


def conv_v2_settings(plan: ConvPlan, architecture: ResNetV2Architecture) -> dict[str, Any]:
    """For ``Conv``, all but the features."""
    settings = conv_settings(plan)
    return settings | {"conv_general_dilated": _conv} if architecture.big_transfer else settings


def _conv(images: Array, kernel: Array, *args: Any, **settings: Any) -> Array:
    """With a kernel whose every output has mean 0 and variance 1 (Qiao et al. 2019)."""
    axes = tuple(range(kernel.ndim - 1))
    kernel -= kernel.mean(axes, keepdims=True)
    kernel *= lax.rsqrt(jnp.square(kernel).mean(axes, keepdims=True) + _EPSILON)
    return lax.conv_general_dilated(images, kernel, *args, **settings)


def norm_settings(architecture: ResNetV2Architecture) -> dict[str, Any]:
    """For ``BatchNorm`` or ``GroupNorm``; the latter takes the mean of squared deviations."""
    if architecture.norm == "batch":
        return architecture.convention.batch_norm
    epsilon = architecture.convention.epsilon
    return {"num_groups": _GROUPS, "epsilon": epsilon, "use_fast_variance": False}


def pool_stem(x: Array, architecture: ResNetV2Architecture, implementation: str | None) -> Array:
    """The max pool, 3x3 with stride 2. The padding can be zeros, which can win."""
    if not (architecture.big_transfer or architecture.keras):
        return max_pool(x, implementation)
    x = jnp.pad(x, [(0, 0)] * (x.ndim - 3) + [(1, 1), (1, 1), (0, 0)])
    return pool.max_pool(x, (3, 3), (2, 2), "VALID", implementation)


_ARCHITECTURE = functools.partial(ResNetV2Architecture, "bottleneck")
_BASIC = functools.partial(ResNetV2Architecture, "basic", features=(64, 128, 256, 512))
_BIT = functools.partial(
    _ARCHITECTURE,
    norm="group",
    big_transfer=True,
    preprocessing=dataclasses.replace(_TIMM, resize=256),
)

RESNETS_V2: Mapping[str, ResNetV2Architecture] = {
    "ResNetV2_18": _BASIC((2, 2, 2, 2)),
    "ResNetV2_34": _BASIC((3, 4, 6, 3)),
    "ResNetV2_50": _ARCHITECTURE((3, 4, 6, 3)),
    "ResNetV2_50D": _ARCHITECTURE((3, 4, 6, 3), deep=True),
    "ResNetV2_50D_GN": _ARCHITECTURE((3, 4, 6, 3), deep=True, norm="group"),
    "ResNetV2_50x1_BiT": _BIT((3, 4, 6, 3)),
    "ResNetV2_101": _ARCHITECTURE((3, 4, 23, 3)),
    "ResNetV2_101x1_BiT": _BIT((3, 4, 23, 3)),
}
