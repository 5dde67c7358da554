"""Pre-activation ResNets for Flax Linen."""

import functools
from typing import Any

import jax
from flax import linen as nn
from jax import Array
from jax.nn import initializers

from resfuse.models.pooling import every, halve
from resfuse.models.preprocessing import Preprocessing
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


class _Part(nn.Module):
    """What all parts of one network know, and the layers that they are made of."""

    architecture: ResNetV2Architecture
    dtype: Any

    def conv(self, plan: ConvPlan, name: str) -> nn.Conv:
        settings = conv_v2_settings(plan, self.architecture)
        return nn.Conv(plan.features, **settings, dtype=self.dtype, name=name)

    def norm(self, name: str | None = None) -> nn.BatchNorm | nn.GroupNorm:
        settings = norm_settings(self.architecture) | {"dtype": self.dtype, "name": name}
        norm = nn.BatchNorm if self.architecture.norm == "batch" else nn.GroupNorm
        return norm(**settings)

    def norm_relu(self, x: Array, use_running_average: bool, name: str) -> Array:
        return _relu_of(self.norm(name), x, use_running_average)


def _relu_of(norm: nn.BatchNorm | nn.GroupNorm, x: Array, use_running_average: bool) -> Array:
    if isinstance(norm, nn.BatchNorm):
        return nn.relu(norm(x, use_running_average))
    return nn.relu(norm(x))


class _Stem(_Part):
    """``conv``, or ``conv1`` - ``norm1`` - ReLU - ``conv2`` - ``norm2`` - ReLU - ``conv3``."""

    @nn.compact
    def __call__(self, x: Array, use_running_average: bool) -> Array:
        *plans, last = plan_first_layers(self.architecture, x.shape[-1])
        for number, plan in enumerate(plans, 1):
            x = self.conv(plan, f"conv{number}")(x)
            x = self.norm_relu(x, use_running_average, f"norm{number}")
        return self.conv(last, f"conv{len(plans) + 1}" if plans else "conv")(x)


class _Downsample(_Part):
    """A 1x1 convolution, after means of 2x2 pixels or with their stride."""

    plan: ConvPlan
    halves: bool

    @nn.compact
    def __call__(self, x: Array) -> Array:
        return self.conv(self.plan, "conv")(halve(x, partial=True) if self.halves else x)


class _Block(_Part):
    """``norm1`` - ReLU - ``conv1`` and so on; the skip leaves after the first ReLU or before."""

    plan: BlockPlan

    @nn.compact
    def __call__(self, x: Array, use_running_average: bool) -> Array:
        y = x
        for number, plan in enumerate(self.plan.convs, 1):
            y = self.norm_relu(y, use_running_average, f"norm{number}")
            if number == 1:
                x = self._skip(x, y)
            y = self.conv(plan, f"conv{number}")(y)
        return y + x

    def _skip(self, x: Array, normalized: Array) -> Array:
        conv = self.plan.downsample
        if conv is None:
            return every(x, self.plan.strides)
        settings = self.architecture, self.dtype, conv, self.plan.halves
        return _Downsample(*settings, name="downsample")(normalized)


class _Blocks(_Part):
    """Named by their numbers."""

    plans: tuple[BlockPlan, ...]

    @nn.compact
    def __call__(self, x: Array, use_running_average: bool) -> Array:
        for index, plan in enumerate(self.plans):
            block = _Block(self.architecture, self.dtype, plan, name=str(index))
            x = block(x, use_running_average)
        return x


class _Stage(_Part):
    """Its ``blocks``, as timm names them."""

    plans: tuple[BlockPlan, ...]

    @nn.compact
    def __call__(self, x: Array, use_running_average: bool) -> Array:
        blocks = _Blocks(self.architecture, self.dtype, self.plans, name="blocks")
        return blocks(x, use_running_average)


class _Stages(_Part):
    """Named by their numbers."""

    @nn.compact
    def __call__(self, x: Array, use_running_average: bool) -> list[Array]:
        maps = []
        for index, plans in enumerate(plan_blocks(self.architecture)):
            stage = _Stage(self.architecture, self.dtype, plans, name=str(index))
            x = stage(x, use_running_average)
            maps.append(x)
        return maps


class _Head(_Part):
    """``fc``, of the means; a 1x1 convolution in timm."""

    num_classes: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        init = initializers.normal(0.01)
        fc = nn.Dense(self.num_classes, kernel_init=init, dtype=self.dtype, name="fc")
        return fc(x.mean((-3, -2)))


class ResNetV2(_Part):
    """A pre-activation ResNet.

    ``ResNetV2_18`` to ``ResNetV2_101x1_BiT`` are this class with ``architecture`` filled in.
    Variables have timm's names: its ``stages.1.blocks.0.norm1.weight`` is ``scale`` in
    ``params["stages"]["1"]["blocks"]["0"]["norm1"]``.

    Attributes:
        architecture: Which network.
        dtype: In which the layers compute; ``None`` follows inputs and variables, as Flax does.
        num_classes: Number of logits.
        features_only: Whether the network ends with its feature maps: it has no head, and a call
            gives what :meth:`features` gives.

    Example:
        >>> import jax
        >>> model = ResNetV2_18(num_classes=10)
        >>> x = jax.numpy.ones((8, 64, 64, 3))
        >>> variables = model.init(jax.random.key(0), x)
        >>> model.apply(variables, x, use_running_average=True).shape
        (8, 10)
        >>> maps = model.apply(variables, x, use_running_average=True, method="features")
        >>> [y.shape[1:] for y in maps]
        [(32, 32, 64), (16, 16, 64), (8, 8, 128), (4, 4, 256), (2, 2, 512)]
    """

    dtype: Any = None
    num_classes: int = 1000
    features_only: bool = False

    @property
    def preprocess(self) -> Preprocessing:
        """What turns a picture into the input of the published weights."""
        return self.architecture.preprocessing

    def setup(self) -> None:
        """Makes the end, which is no part of the feature maps."""
        if not self.features_only:
            self.last_norm = self.norm("norm")
            self.head = _Head(self.architecture, self.dtype, self.num_classes)

    def __call__(self, x: Array, use_running_average: bool = False) -> Any:
        """Maps ``(B, H, W, C)`` to ``(B, num_classes)``, or ``(H, W, C)`` to ``(num_classes,)``.

        Trains unless told otherwise.
        """
        if x.ndim == 3:  # a group norm needs a batch
            return jax.tree.map(lambda y: y[0], self(x[None], use_running_average))
        maps = self.features(x, use_running_average)
        if self.features_only:
            return maps
        return self.head(_relu_of(self.last_norm, maps[-1], use_running_average))

    @nn.compact
    def features(self, x: Array, use_running_average: bool = False) -> list[Array]:
        """Maps ``(B, H, W, C)`` to the stem's map, before its pool, and each stage's."""
        shared = self.architecture, self.dtype
        first = _Stem(*shared, name="stem")(x, use_running_average)
        x = pool_stem(first, self.architecture, None)
        return [first, *_Stages(*shared, name="stages")(x, use_running_average)]


ResNetV2_18 = functools.partial(ResNetV2, RESNETS_V2["ResNetV2_18"])
ResNetV2_34 = functools.partial(ResNetV2, RESNETS_V2["ResNetV2_34"])
ResNetV2_50 = functools.partial(ResNetV2, RESNETS_V2["ResNetV2_50"])
ResNetV2_50D = functools.partial(ResNetV2, RESNETS_V2["ResNetV2_50D"])
ResNetV2_50D_GN = functools.partial(ResNetV2, RESNETS_V2["ResNetV2_50D_GN"])
ResNetV2_50x1_BiT = functools.partial(ResNetV2, RESNETS_V2["ResNetV2_50x1_BiT"])
ResNetV2_101 = functools.partial(ResNetV2, RESNETS_V2["ResNetV2_101"])
ResNetV2_101x1_BiT = functools.partial(ResNetV2, RESNETS_V2["ResNetV2_101x1_BiT"])
