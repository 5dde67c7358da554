"""The ResNets of torchvision and timm for Flax NNX."""

import functools
from typing import Any

from flax import nnx
from jax import Array

from resfuse.arguments import check_implementation
from resfuse.models.architectures import ARCHITECTURES, Architecture
from resfuse.models.resnet_plans import ConvPlan, plan_stages, plan_stem
from resfuse.models.torchvision_layers import linear_settings, max_pool
from resfuse.nnx.fused import conv_bn_acts
from resfuse.nnx.layers import Layers
from resfuse.nnx.network import Network
from resfuse.nnx.resnet_blocks import Block, conv_and_norm

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


def _stem(plans: tuple[ConvPlan, ...], make: Layers) -> tuple[Any, nnx.BatchNorm]:
    """``conv1`` and ``bn1``; ``None`` is where torch's ``Sequential`` has a ReLU."""
    *layers, (conv, bn) = (conv_and_norm(plan, make) for plan in plans)
    if not layers:
        return conv, bn
    return nnx.List([*(each for layer in layers for each in (*layer, None)), conv]), bn


class ResNet(Network):
    """A ResNet, Wide ResNet, ResNeXt, or variant of timm's, with torchvision's arithmetic.

    ``ResNet18`` to ``ECAResNet101D`` are this class with ``architecture`` filled in. Attributes
    have torchvision's and timm's names: their ``layer1.0.conv1.weight`` is
    ``layer1[0].conv1.kernel``, with the output channels last. Training differs in one thing: Flax
    averages the biased variances of the batches, torch the unbiased ones.

    Args:
        architecture: As in :class:`Network`, and so are the others that are not below.
        num_classes: See there.
        in_channels: See there.
        features_only: See there.
        cifar_stem: Whether the stem, for small images, is a 3x3 convolution with stride 1 and no
            max pool, in place of 7x7 with stride 2.
        zero_init_residual: Whether the last batch norm of each block starts with scale 0.
        replace_stride_with_dilation: For every stage but the first, whether its stride becomes a
            dilation; ``None`` for none. For bottlenecks only.
        implementation: ``None`` (the kernel where it runs), ``"ffi"`` or ``"xla"`` (plain Flax).
        dtype: See there. The kernel runs in float32; other dtypes are plain Flax.
        rngs: See there.

    Raises:
        ValueError: For an unknown ``implementation``, or for flags that do not fit the
            architecture.

    Example:
        >>> import jax
        >>> model = ResNet18(num_classes=10, cifar_stem=True, rngs=nnx.Rngs(0))
        >>> model.eval()
        >>> x = jax.numpy.ones((8, 32, 32, 3))
        >>> model(x).shape
        (8, 10)
        >>> [y.shape for y in model.features(x)]
        [(8, 32, 32, 64), (8, 16, 16, 128), (8, 8, 8, 256), (8, 4, 4, 512)]
    """

    def __init__(
        self,
        architecture: Architecture,
        num_classes: int = 1000,
        *,
        in_channels: int = 3,
        features_only: bool = False,
        cifar_stem: bool = False,
        zero_init_residual: bool = False,
        replace_stride_with_dilation: tuple[bool, ...] | None = None,
        implementation: str | None = None,
        dtype: Any = None,
        rngs: nnx.Rngs,
    ) -> None:
        self.implementation = check_implementation(implementation)
        self.cifar_stem, self.zero_init_residual = cifar_stem, zero_init_residual
        self.replace_stride_with_dilation = replace_stride_with_dilation
        super().__init__(
            architecture,
            num_classes,
            in_channels=in_channels,
            features_only=features_only,
            dtype=dtype,
            rngs=rngs,
        )

    def make_body(self, architecture: Architecture, in_channels: int, make: Layers) -> None:
        """The stem and the stages."""
        stem = plan_stem(architecture, in_channels, self.cifar_stem)
        self.conv1, self.bn1 = _stem(stem, make)
        block = functools.partial(
            Block,
            make=make,
            zero_init_residual=self.zero_init_residual,
            implementation=self.implementation,
        )
        self.stages = len(architecture.depths)
        stages = plan_stages(architecture, self.replace_stride_with_dilation)
        for number, plans in enumerate(stages, 1):
            setattr(self, f"layer{number}", nnx.List([block(plan) for plan in plans]))

    def make_head(self, architecture: Architecture, num_classes: int, make: Layers) -> None:
        """One dense layer."""
        width = architecture.out_features
        self.fc = make.linear(width, num_classes, **linear_settings(width))

    def __call__(self, x: Array, use_running_average: bool | None = None) -> Any:
        """Maps ``(B, H, W, C)`` to ``(B, num_classes)``, or ``(H, W, C)`` to ``(num_classes,)``."""
        maps = self.features(x, use_running_average)
        return maps if self.features_only else self.classify(maps[-1])

    def classify(self, x: Array) -> Array:
        """Of the means."""
        return self.fc(x.mean((-3, -2)))

    def features(self, x: Array, use_running_average: bool | None = None) -> list[Array]:
        """Maps ``(B, H, W, C)``, or one ``(H, W, C)``, to the output of each stage."""
        x = conv_bn_acts(
            [(*layer, nnx.relu) for layer in self._stem_layers()],
            x,
            use_running_average=use_running_average,
            implementation=self.implementation,
        )
        x = x if self.cifar_stem else max_pool(x, self.implementation)
        maps = []
        for number in range(1, self.stages + 1):
            for block in getattr(self, f"layer{number}"):
                x = block(x, use_running_average)
            maps.append(x)
        return maps

    def _stem_layers(self) -> list[tuple[nnx.Conv, nnx.BatchNorm]]:
        convs = self.conv1 if isinstance(self.conv1, nnx.List) else [self.conv1]
        modules = [module for module in [*convs, self.bn1] if module is not None]
        return list(zip(modules[::2], modules[1::2], strict=True))


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
