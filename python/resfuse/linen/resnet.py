"""The ResNets of torchvision and timm for Flax Linen."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

from flax import linen as nn
from jax import Array

from resfuse.linen.attention import ATTENTIONS
from resfuse.linen.fused import conv_alone, conv_bn_acts
from resfuse.models.architectures import ARCHITECTURES, Architecture
from resfuse.models.convention import Convention
from resfuse.models.pooling import halve
from resfuse.models.preprocessing import Preprocessing
from resfuse.models.resnet_plans import BlockPlan, ConvPlan, plan_stages, plan_stem
from resfuse.models.torchvision_layers import conv_settings, linear_settings, max_pool

__all__ = [
    "ECAResNet50D",
    "ECAResNet50T",
    "ECAResNet101D",
    "ResNeXt50_32x4d",
    "ResNeXt101_32x8d",
    "ResNeXt101_64x4d",
    "ResNet",
    "ResNet18",
    "ResNet18D",
    "ResNet34",
    "ResNet34D",
    "ResNet50",
    "ResNet50D",
    "ResNet101",
    "ResNet101D",
    "ResNet152",
    "ResNet152D",
    "SEResNeXt50_32x4d",
    "SEResNet50",
    "WideResNet50_2",
    "WideResNet101_2",
]


@dataclasses.dataclass(frozen=True)
class _Layers:
    """Makes and runs the layers of one network, so that what they share is said once."""

    convention: Convention
    dtype: Any
    zero_init_residual: bool
    implementation: str | None

    def conv(self, plan: ConvPlan, name: str) -> nn.Conv:
        return nn.Conv(plan.features, **conv_settings(plan), dtype=self.dtype, name=name)

    def norm(self, name: str, scale_init: Any = nn.initializers.ones) -> nn.BatchNorm:
        settings = self.convention.batch_norm
        return nn.BatchNorm(**settings, scale_init=scale_init, dtype=self.dtype, name=name)

    def fused(self, use_running_average: bool) -> Callable[..., Array]:
        """``conv_bn_acts`` as the network runs it."""
        return functools.partial(
            conv_bn_acts,
            use_running_average=use_running_average,
            implementation=self.implementation,
        )


class _Downsample(nn.Module):
    """The layer of a block's skip, named as in torch's ``Sequential``."""

    conv: ConvPlan
    plan: BlockPlan
    make: _Layers

    @nn.compact
    def __call__(self, x: Array, use_running_average: bool) -> Array:
        conv, norm = self.plan.skip_names
        x = halve(x, partial=True) if self.plan.halves else x
        layer = self.make.conv(self.conv, conv), self.make.norm(norm), None
        return self.make.fused(use_running_average)([layer], x)


class _DeepStem(nn.Module):
    """Convolutions named as in torch's ``Sequential``; the last norm is outside, as in timm."""

    plans: tuple[ConvPlan, ...]
    make: _Layers

    @nn.compact
    def __call__(self, x: Array, use_running_average: bool) -> Array:
        *plans, last = self.plans
        make = self.make
        layers = [
            (make.conv(plan, f"{3 * number}"), make.norm(f"{3 * number + 1}"), nn.relu)
            for number, plan in enumerate(plans)
        ]
        x = make.fused(use_running_average)(layers, x)
        conv = make.conv(last, f"{3 * len(plans)}")
        return conv_alone(conv, x, implementation=make.implementation)


class _Block(nn.Module):
    """``conv1`` - ``bn1`` - ReLU and so on; the skip is added before the last ReLU."""

    plan: BlockPlan
    make: _Layers

    @nn.compact
    def __call__(self, x: Array, use_running_average: bool) -> Array:
        make, fused = self.make, self.make.fused(use_running_average)
        *convs, last = self.plan.convs
        branch = [
            (make.conv(plan, f"conv{number}"), make.norm(f"bn{number}"), nn.relu)
            for number, plan in enumerate(convs, 1)
        ]
        number = len(self.plan.convs)
        init = nn.initializers.zeros if make.zero_init_residual else nn.initializers.ones
        layer = make.conv(last, f"conv{number}"), make.norm(f"bn{number}", init)
        skip = x
        if self.plan.downsample is not None:
            downsample = _Downsample(self.plan.downsample, self.plan, make, name="downsample")
            skip = downsample(x, use_running_average)
        if self.plan.attention is None:
            return fused([*branch, (*layer, nn.relu)], x, residual=skip)
        attention = ATTENTIONS[self.plan.attention](self.plan, make.dtype, name="se")
        return nn.relu(attention(fused([*branch, (*layer, None)], x)) + skip)


class _Stage(nn.Module):
    """Blocks named by their numbers, as in torchvision's ``Sequential``."""

    plans: tuple[BlockPlan, ...]
    make: _Layers

    @nn.compact
    def __call__(self, x: Array, use_running_average: bool) -> Array:
        for index, plan in enumerate(self.plans):
            x = _Block(plan, self.make, name=str(index))(x, use_running_average)
        return x


class ResNet(nn.Module):
    """A ResNet, Wide ResNet, ResNeXt, or variant of timm's, with torchvision's arithmetic.

    ``ResNet18`` to ``ECAResNet101D`` are this class with ``architecture`` filled in. Variables
    have torchvision's and timm's names: their ``layer1.0.conv1.weight`` is ``kernel`` in
    ``params["layer1"]["0"]["conv1"]``, with the output channels last. Training differs in one
    thing: Flax averages the biased variances of the batches, torch the unbiased ones.

    Attributes:
        architecture: Which network.
        num_classes: Number of logits.
        cifar_stem: Whether the stem, for small images, is a 3x3 convolution with stride 1 and no
            max pool, in place of 7x7 with stride 2.
        zero_init_residual: Whether the last batch norm of each block starts with scale 0.
        replace_stride_with_dilation: For every stage but the first, whether its stride becomes a
            dilation; ``None`` for none. For bottlenecks only.
        implementation: ``None`` (the kernel where it runs), ``"ffi"`` or ``"xla"`` (plain Flax).
        features_only: Whether the network ends with its feature maps: it has no head, and a call
            gives what :meth:`features` gives.
        dtype: In which the layers compute; ``None`` follows inputs and variables, as Flax does. The
            kernel runs in float32; other dtypes are plain Flax.

    Raises:
        ValueError: When the network is first used: for an unknown ``implementation``, for flags
            that do not fit the architecture.

    Example:
        >>> import jax
        >>> model = ResNet18(num_classes=10, cifar_stem=True)
        >>> x = jax.numpy.ones((8, 32, 32, 3))
        >>> variables = model.init(jax.random.key(0), x)
        >>> model.apply(variables, x, use_running_average=True).shape
        (8, 10)
        >>> maps = model.apply(variables, x, use_running_average=True, method="features")
        >>> [y.shape for y in maps]
        [(8, 32, 32, 64), (8, 16, 16, 128), (8, 8, 8, 256), (8, 4, 4, 512)]
    """

    architecture: Architecture
    num_classes: int = 1000
    cifar_stem: bool = False
    zero_init_residual: bool = False
    replace_stride_with_dilation: tuple[bool, ...] | None = None
    implementation: str | None = None
    features_only: bool = False
    dtype: Any = None

    @property
    def preprocess(self) -> Preprocessing:
        """What turns a picture into the input of the published weights."""
        return self.architecture.preprocessing

    def setup(self) -> None:
        """Makes the head, which is no part of the feature maps."""
        if not self.features_only:
            settings = linear_settings(self.architecture.out_features)
            self.fc = nn.Dense(self.num_classes, **settings, dtype=self.dtype)

    def __call__(self, x: Array, use_running_average: bool = False) -> Any:
        """Maps ``(B, H, W, C)`` to ``(B, num_classes)``, or ``(H, W, C)`` to ``(num_classes,)``.

        Trains unless told otherwise.
        """
        maps = self.features(x, use_running_average)
        return maps if self.features_only else self.fc(maps[-1].mean(axis=(-3, -2)))

    @nn.compact
    def features(self, x: Array, use_running_average: bool = False) -> list[Array]:
        """Maps ``(B, H, W, C)``, or one ``(H, W, C)``, to the output of each stage."""
        make = _Layers(
            self.architecture.convention, self.dtype, self.zero_init_residual, self.implementation
        )
        x = self._stem(x, use_running_average, make)
        x = x if self.cifar_stem else max_pool(x, self.implementation)
        maps = []
        stages = plan_stages(self.architecture, self.replace_stride_with_dilation)
        for number, plans in enumerate(stages, 1):
            x = _Stage(plans, make, name=f"layer{number}")(x, use_running_average)
            maps.append(x)
        return maps

    def _stem(self, x: Array, use_running_average: bool, make: _Layers) -> Array:
        first, *more = plans = plan_stem(self.architecture, x.shape[-1], self.cifar_stem)
        norm = make.norm("bn1")
        if more:
            x = _DeepStem(plans, make, name="conv1")(x, use_running_average)
            return nn.relu(norm(x, use_running_average))
        return make.fused(use_running_average)([(make.conv(first, "conv1"), norm, nn.relu)], x)


ResNet18 = functools.partial(ResNet, ARCHITECTURES["ResNet18"])
ResNet34 = functools.partial(ResNet, ARCHITECTURES["ResNet34"])
ResNet50 = functools.partial(ResNet, ARCHITECTURES["ResNet50"])
ResNet101 = functools.partial(ResNet, ARCHITECTURES["ResNet101"])
ResNet152 = functools.partial(ResNet, ARCHITECTURES["ResNet152"])
WideResNet50_2 = functools.partial(ResNet, ARCHITECTURES["WideResNet50_2"])
WideResNet101_2 = functools.partial(ResNet, ARCHITECTURES["WideResNet101_2"])
ResNeXt50_32x4d = functools.partial(ResNet, ARCHITECTURES["ResNeXt50_32x4d"])
ResNeXt101_32x8d = functools.partial(ResNet, ARCHITECTURES["ResNeXt101_32x8d"])
ResNeXt101_64x4d = functools.partial(ResNet, ARCHITECTURES["ResNeXt101_64x4d"])
ResNet18D = functools.partial(ResNet, ARCHITECTURES["ResNet18D"])
ResNet34D = functools.partial(ResNet, ARCHITECTURES["ResNet34D"])
ResNet50D = functools.partial(ResNet, ARCHITECTURES["ResNet50D"])
ResNet101D = functools.partial(ResNet, ARCHITECTURES["ResNet101D"])
ResNet152D = functools.partial(ResNet, ARCHITECTURES["ResNet152D"])
SEResNet50 = functools.partial(ResNet, ARCHITECTURES["SEResNet50"])
SEResNeXt50_32x4d = functools.partial(ResNet, ARCHITECTURES["SEResNeXt50_32x4d"])
ECAResNet50D = functools.partial(ResNet, ARCHITECTURES["ECAResNet50D"])
ECAResNet50T = functools.partial(ResNet, ARCHITECTURES["ECAResNet50T"])
ECAResNet101D = functools.partial(ResNet, ARCHITECTURES["ECAResNet101D"])
