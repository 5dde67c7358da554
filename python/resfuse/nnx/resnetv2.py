"""Pre-activation ResNets for Flax NNX."""

import functools
from typing import Any

import jax
from flax import nnx
from jax import Array
from jax.nn import initializers

from resfuse.models.pooling import every, halve
from resfuse.models.resnet_plans import BlockPlan, ConvPlan
from resfuse.models.resnetv2 import (
    RESNETS_V2,
    ResNetV2Architecture,
    conv_v2_settings,
    norm_settings,
    plan_blocks,
    plan_first_layers,
    pool_stem,
)
from resfuse.nnx.layers import Layers
from resfuse.nnx.network import Network

__all__ = [
    "ResNetV2",
    "ResNetV2_18",
    "ResNetV2_34",
    "ResNetV2_50",
    "ResNetV2_50D",
    "ResNetV2_50D_GN",
    "ResNetV2_50x1_BiT",
    "ResNetV2_101",
    "ResNetV2_101x1_BiT",
]


class _Layers:
    """Makes the layers of one network."""

    def __init__(self, architecture: ResNetV2Architecture, make: Layers) -> None:
        self.architecture, self.make = architecture, make

    def conv(self, plan: ConvPlan) -> nnx.Conv:
        return self.make.planned_conv(plan, conv_v2_settings(plan, self.architecture))

    def norm(self, features: int) -> Any:
        if self.architecture.norm == "batch":
            return self.make.batch_norm(features)
        settings = norm_settings(self.architecture)
        return nnx.GroupNorm(features, **settings, dtype=self.make.dtype, rngs=self.make.rngs)


class _Stem(nnx.Module):
    """``conv``, or ``conv1`` - ``norm1`` - ReLU - ``conv2`` - ``norm2`` - ReLU - ``conv3``."""

    def __init__(self, in_channels: int, make: _Layers) -> None:
        *plans, last = plan_first_layers(make.architecture, in_channels)
        self.depth = len(plans)
        for number, plan in enumerate(plans, 1):
            setattr(self, f"conv{number}", make.conv(plan))
            setattr(self, f"norm{number}", make.norm(plan.features))
        self.last = f"conv{len(plans) + 1}" if plans else "conv"
        setattr(self, self.last, make.conv(last))

    def __call__(self, x: Array) -> Array:
        for number in range(1, self.depth + 1):
            x = getattr(self, f"conv{number}")(x)
            x = jax.nn.relu(getattr(self, f"norm{number}")(x))
        y: Array = getattr(self, self.last)(x)
        return y


class _Downsample(nnx.Module):
    """A 1x1 convolution, after means of 2x2 pixels or with their stride."""

    def __init__(self, conv: ConvPlan, halves: bool, make: _Layers) -> None:
        self.conv, self.halves = make.conv(conv), halves

    def __call__(self, x: Array) -> Array:
        y: Array = self.conv(halve(x, partial=True) if self.halves else x)
        return y


class _Block(nnx.Module):
    """``norm1`` - ReLU - ``conv1`` and so on; the skip leaves after the first ReLU or before."""

    def __init__(self, plan: BlockPlan, make: _Layers) -> None:
        skip = plan.downsample
        self.downsample = None if skip is None else _Downsample(skip, plan.halves, make)
        self.depth, self.strides = len(plan.convs), plan.strides
        for number, conv in enumerate(plan.convs, 1):
            setattr(self, f"norm{number}", make.norm(conv.in_features))
            setattr(self, f"conv{number}", make.conv(conv))

    def __call__(self, x: Array) -> Array:
        y = x
        for number in range(1, self.depth + 1):
            y = jax.nn.relu(getattr(self, f"norm{number}")(y))
            if number == 1:
                x = self._skip(x, y)
            y = getattr(self, f"conv{number}")(y)
        return y + x

    def _skip(self, x: Array, normalized: Array) -> Array:
        if self.downsample is None:
            return every(x, self.strides)
        return self.downsample(normalized)


class _Stage(nnx.Module):
    """Its ``blocks``, as timm names them."""

    def __init__(self, plans: tuple[BlockPlan, ...], make: _Layers) -> None:
        self.blocks = nnx.List(_Block(plan, make) for plan in plans)

    def __call__(self, x: Array) -> Array:
        for block in self.blocks:
            x = block(x)
        return x


class _Head(nnx.Module):
    """``fc``, of the means; a 1x1 convolution in timm."""

    def __init__(self, features: int, num_classes: int, make: Layers) -> None:
        self.fc = make.linear(features, num_classes, initializers.normal(0.01))

    def __call__(self, x: Array) -> Array:
        return self.fc(x.mean((-3, -2)))


class ResNetV2(Network):
    """A pre-activation ResNet.

    ``ResNetV2_18`` to ``ResNetV2_101x1_BiT`` are this class with ``architecture`` filled in.
    Attributes have timm's names: its ``stages.1.blocks.0.norm1.weight`` is
    ``stages[1].blocks[0].norm1.scale``.

    The arguments are those of :class:`Network`.

    Example:
        >>> model = ResNetV2_18(num_classes=10, rngs=nnx.Rngs(0))
        >>> model.eval()
        >>> x = jax.numpy.ones((8, 64, 64, 3))
        >>> model(x).shape
        (8, 10)
        >>> [y.shape[1:] for y in model.features(x)]
        [(32, 32, 64), (16, 16, 64), (8, 8, 128), (4, 4, 256), (2, 2, 512)]
    """

    def make_body(self, architecture: ResNetV2Architecture, in_channels: int, make: Layers) -> None:
        """The stem and the stages."""
        self.architecture = architecture
        layers = _Layers(architecture, make)
        self.stem = _Stem(in_channels, layers)
        self.stages = nnx.List(_Stage(plans, layers) for plans in plan_blocks(architecture))

    def make_head(self, architecture: ResNetV2Architecture, num_classes: int, make: Layers) -> None:
        """The last norm and a dense layer."""
        layers, width = _Layers(architecture, make), architecture.features[-1]
        self.norm = layers.norm(width)
        self.head = _Head(width, num_classes, make)

    def __call__(self, x: Array) -> Any:
        """Maps ``(B, H, W, C)`` to ``(B, num_classes)``, or ``(H, W, C)`` to ``(num_classes,)``."""
        if x.ndim == 3:  # a group norm needs a batch
            return jax.tree.map(lambda y: y[0], self(x[None]))
        return super().__call__(x)

    def classify(self, x: Array) -> Array:
        """Of the means after the last norm."""
        return self.head(jax.nn.relu(self.norm(x)))

    def features(self, x: Array) -> list[Array]:
        """Maps ``(B, H, W, C)`` to the stem's map, before its pool, and each stage's."""
        maps = [self.stem(x)]
        x = pool_stem(maps[0], self.architecture, None)
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps


ResNetV2_18 = functools.partial(ResNetV2, RESNETS_V2["ResNetV2_18"])
ResNetV2_34 = functools.partial(ResNetV2, RESNETS_V2["ResNetV2_34"])
ResNetV2_50 = functools.partial(ResNetV2, RESNETS_V2["ResNetV2_50"])
ResNetV2_50D = functools.partial(ResNetV2, RESNETS_V2["ResNetV2_50D"])
ResNetV2_50D_GN = functools.partial(ResNetV2, RESNETS_V2["ResNetV2_50D_GN"])
ResNetV2_50x1_BiT = functools.partial(ResNetV2, RESNETS_V2["ResNetV2_50x1_BiT"])
ResNetV2_101 = functools.partial(ResNetV2, RESNETS_V2["ResNetV2_101"])
ResNetV2_101x1_BiT = functools.partial(ResNetV2, RESNETS_V2["ResNetV2_101x1_BiT"])
