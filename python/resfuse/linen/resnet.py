"""The ResNets of torchvision and timm for Flax Linen."""

import functools

from flax import linen as nn
from jax import Array

from resfuse.linen.attention import ATTENTIONS
from resfuse.linen.fused import conv_alone, conv_bn_relu
from resfuse.models.architectures import ARCHITECTURES, Architecture
from resfuse.models.pooling import halve
from resfuse.models.preprocessing import Preprocessing
from resfuse.models.resnet_plans import BlockPlan, ConvPlan, plan_stages, plan_stem
from resfuse.models.torchvision_layers import BATCH_NORM, conv_settings, linear_settings, max_pool

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


def _conv(plan: ConvPlan, name: str | None = None) -> nn.Conv:
    return nn.Conv(plan.features, **conv_settings(plan), name=name)


_norm = functools.partial(nn.BatchNorm, **BATCH_NORM)


class _Downsample(nn.Module):
    """The layer of a block's skip, named as in torch's ``Sequential``."""

    conv: ConvPlan
    plan: BlockPlan
    implementation: str | None

    @nn.compact
    def __call__(self, x: Array, use_running_average: bool) -> Array:
        conv, norm = self.plan.skip_names
        return conv_bn_relu(
            _conv(self.conv, conv),
            _norm(name=norm),
            halve(x, partial=True) if self.plan.halves else x,
            relu=False,
            use_running_average=use_running_average,
            implementation=self.implementation,
        )


class _DeepStem(nn.Module):
    """Convolutions named as in torch's ``Sequential``; the last norm is outside, as in timm."""

    plans: tuple[ConvPlan, ...]
    implementation: str | None

    @nn.compact
    def __call__(self, x: Array, use_running_average: bool) -> Array:
        *plans, last = self.plans
        for number, plan in enumerate(plans):
            x = conv_bn_relu(
                _conv(plan, f"{3 * number}"),
                _norm(name=f"{3 * number + 1}"),
                x,
                use_running_average=use_running_average,
                implementation=self.implementation,
            )
        conv = _conv(last, f"{3 * len(plans)}")
        return conv_alone(conv, x, implementation=self.implementation)


class _Block(nn.Module):
    """``conv1`` - ``bn1`` - ReLU and so on; the skip is added before the last ReLU."""

    plan: BlockPlan
    zero_init_residual: bool
    implementation: str | None

    @nn.compact
    def __call__(self, x: Array, use_running_average: bool) -> Array:
        fused = functools.partial(
            conv_bn_relu,
            use_running_average=use_running_average,
            implementation=self.implementation,
        )
        *convs, last = self.plan.convs
        y = x
        for number, plan in enumerate(convs, 1):
            y = fused(_conv(plan, f"conv{number}"), _norm(name=f"bn{number}"), y)
        if self.plan.downsample is not None:
            settings = self.plan.downsample, self.plan, self.implementation
            x = _Downsample(*settings, name="downsample")(x, use_running_average)
        number = len(self.plan.convs)
        init = nn.initializers.zeros if self.zero_init_residual else nn.initializers.ones
        norm = _norm(scale_init=init, name=f"bn{number}")
        conv = _conv(last, f"conv{number}")
        if self.plan.attention is None:
            return fused(conv, norm, y, residual=x)
        y = fused(conv, norm, y, relu=False)
        return nn.relu(ATTENTIONS[self.plan.attention](self.plan, name="se")(y) + x)


class _Stage(nn.Module):
    """Blocks named by their numbers, as in torchvision's ``Sequential``."""

    plans: tuple[BlockPlan, ...]
    zero_init_residual: bool
    implementation: str | None

    @nn.compact
    def __call__(self, x: Array, use_running_average: bool) -> Array:
        for index, plan in enumerate(self.plans):
            block = _Block(plan, self.zero_init_residual, self.implementation, name=str(index))
            x = block(x, use_running_average)
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

    @property
    def preprocess(self) -> Preprocessing:
        """What turns a picture into the input of the published weights."""
        return self.architecture.preprocessing

    def setup(self) -> None:
        """Makes the head, which is no part of the feature maps."""
        self.fc = nn.Dense(self.num_classes, **linear_settings(self.architecture.out_features))

    def __call__(self, x: Array, use_running_average: bool = False) -> Array:
        """Maps ``(B, H, W, C)`` to ``(B, num_classes)``, or ``(H, W, C)`` to ``(num_classes,)``.

        Trains unless told otherwise.
        """
        logits: Array = self.fc(self.features(x, use_running_average)[-1].mean(axis=(-3, -2)))
        return logits

    @nn.compact
    def features(self, x: Array, use_running_average: bool = False) -> list[Array]:
        """Maps ``(B, H, W, C)``, or one ``(H, W, C)``, to the output of each stage."""
        x = self._stem(x, use_running_average)
        x = x if self.cifar_stem else max_pool(x, self.implementation)
        maps = []
        stages = plan_stages(self.architecture, self.replace_stride_with_dilation)
        for number, plans in enumerate(stages, 1):
            settings = self.zero_init_residual, self.implementation
            x = _Stage(plans, *settings, name=f"layer{number}")(x, use_running_average)
            maps.append(x)
        return maps

    def _stem(self, x: Array, use_running_average: bool) -> Array:
        first, *more = plans = plan_stem(self.architecture, x.shape[-1], self.cifar_stem)
        norm = _norm(name="bn1")
        if more:
            x = _DeepStem(plans, self.implementation, name="conv1")(x, use_running_average)
            return nn.relu(norm(x, use_running_average))
        return conv_bn_relu(
            _conv(first, "conv1"),
            norm,
            x,
            use_running_average=use_running_average,
            implementation=self.implementation,
        )


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
