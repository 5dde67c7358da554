"""The residual networks of "Dive into Deep Learning", JAX edition, on the fused op.

The variable trees are the book's, so its checkpoints go in and out unchanged. Whether a network
trains or uses its running averages is fixed when it is made, by ``training``, as in the book. On
the fused path convolutions and batch norms are read and not called: to capture their
intermediates, use ``implementation="xla"``.

``ResNet18`` to ``ResNet152`` are ``ResNet`` with ``arch`` and ``block`` filled in:

    >>> import jax
    >>> model = ResNet18(num_classes=10, training=False)
    >>> images = jax.numpy.ones((1, 96, 96, 1))
    >>> variables = model.init(jax.random.key(0), images)
    >>> model.apply(variables, images).shape
    (1, 10)
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

from flax import linen as nn
from jax import Array

from resfuse.kernel import pool
from resfuse.linen.fused import conv_alone, conv_bn_acts, conv_bn_relu
from resfuse.models.layer import check_channels

__all__ = [
    "Bottleneck",
    "ResNeXtBlock",
    "ResNet",
    "ResNet18",
    "ResNet34",
    "ResNet50",
    "ResNet101",
    "ResNet152",
    "Residual",
]

_STEM_CHANNELS = 64


class Residual(nn.Module):
    """``conv1`` 3x3 - ``bn1`` - ReLU - ``conv2`` 3x3 - ``bn2`` - add the skip - ReLU.

    The skip goes through ``conv3``, 1x1 and without batch norm, if ``use_1x1conv`` is set or a
    stride is not 1.

    Attributes:
        num_channels: Output channels.
        use_1x1conv: Whether the skip is convolved although no stride asks for it.
        strides: Strides of ``conv1`` and ``conv3``.
        training: Whether to normalize with the statistics of the batch.
        implementation: ``None`` (the kernel where it runs), ``"ffi"`` or ``"xla"`` (plain Flax).

    Example:
        >>> import jax
        >>> x = jax.numpy.ones((4, 6, 6, 3))
        >>> y, variables = Residual(3).init_with_output(jax.random.key(0), x)
        >>> y.shape
        (4, 6, 6, 3)
    """

    num_channels: int
    use_1x1conv: bool = False
    strides: tuple[int, int] = (1, 1)
    training: bool = True
    implementation: str | None = None

    def setup(self) -> None:
        """Makes the layers, named as in the book."""
        self.conv1 = nn.Conv(self.num_channels, (3, 3), strides=self.strides)
        self.conv2 = nn.Conv(self.num_channels, (3, 3))
        convolved = self.use_1x1conv or any(stride != 1 for stride in self.strides)
        conv3 = functools.partial(nn.Conv, self.num_channels, (1, 1), strides=self.strides)
        self.conv3 = conv3() if convolved else None
        self.bn1 = nn.BatchNorm(not self.training)
        self.bn2 = nn.BatchNorm(not self.training)

    def __call__(self, x: Array) -> Array:
        """Maps ``(B, H, W, C)`` to ``(B, Ho, Wo, num_channels)``.

        Raises:
            ValueError: If the skip is the input and has other than ``num_channels`` channels.
        """
        skip = x
        if self.conv3 is not None:
            skip = conv_alone(self.conv3, x, implementation=self.implementation)
        check_channels(skip, self.num_channels, "set use_1x1conv=True")
        branch = [(self.conv1, self.bn1, nn.relu), (self.conv2, self.bn2, nn.relu)]
        return conv_bn_acts(branch, x, residual=skip, implementation=self.implementation)


class ResNeXtBlock(nn.Module):
    """Conv 1x1 - grouped conv 3x3 - conv 1x1, each with batch norm; add the skip; ReLU.

    The layers are ``conv1`` to ``conv3`` and ``bn1`` to ``bn3``, with a ReLU after the first two.
    The skip goes through ``conv4``, 1x1, and ``bn4`` if ``use_1x1conv`` is set.

    Attributes:
        num_channels: Output channels.
        groups: Groups of the 3x3 convolution.
        bot_mul: Width of the 3x3 convolution as a multiple of ``num_channels``.
        use_1x1conv: Whether the skip is convolved: wanted where the shape changes.
        strides: Strides of ``conv2`` and ``conv4``.
        training: Whether to normalize with the statistics of the batch.
        implementation: ``None`` (the kernel where it runs), ``"ffi"`` or ``"xla"`` (plain Flax).

    Example:
        >>> import jax
        >>> x = jax.numpy.ones((4, 96, 96, 32))
        >>> y, variables = ResNeXtBlock(32, 16, 1).init_with_output(jax.random.key(0), x)
        >>> y.shape
        (4, 96, 96, 32)
    """

    num_channels: int
    groups: int
    bot_mul: float
    use_1x1conv: bool = False
    strides: tuple[int, int] = (1, 1)
    training: bool = True
    implementation: str | None = None

    def setup(self) -> None:
        """Makes the layers, named as in the book."""
        width = round(self.num_channels * self.bot_mul)
        self.conv1 = nn.Conv(width, (1, 1))
        self.conv2 = nn.Conv(width, (3, 3), strides=self.strides, feature_group_count=self.groups)
        self.conv3 = nn.Conv(self.num_channels, (1, 1))
        self.bn1 = nn.BatchNorm(not self.training)
        self.bn2 = nn.BatchNorm(not self.training)
        self.bn3 = nn.BatchNorm(not self.training)
        if self.use_1x1conv:
            self.conv4 = nn.Conv(self.num_channels, (1, 1), strides=self.strides)
            self.bn4 = nn.BatchNorm(not self.training)

    def __call__(self, x: Array) -> Array:
        """Maps ``(B, H, W, C)`` to ``(B, Ho, Wo, num_channels)``.

        Raises:
            ValueError: If the skip is the input and has another shape than the output.
        """
        fused = functools.partial(conv_bn_acts, implementation=self.implementation)
        skip = fused([(self.conv4, self.bn4, None)], x) if self.use_1x1conv else x
        check_channels(skip, self.num_channels, "set use_1x1conv=True")
        branch = [
            (self.conv1, self.bn1, nn.relu),
            (self.conv2, self.bn2, nn.relu),
            (self.conv3, self.bn3, nn.relu),
        ]
        return fused(branch, x, residual=skip)


class _Stem(nn.Sequential):
    """The book's ``[Conv, BatchNorm, relu, max_pool]``, the first three of them as one."""

    layers: Sequence[Any]
    implementation: str | None = None

    def __call__(self, x: Array) -> Array:
        conv, bn, _, max_pool = self.layers
        y: Array = max_pool(conv_bn_relu(conv, bn, x, implementation=self.implementation))
        return y


class ResNet(nn.Module):
    """The book's template: a stem, stages of residual blocks, global average pool, Dense.

    The first block of every stage but the first has stride 2. Blocks that change the shape of
    their input have ``use_1x1conv``.

    Attributes:
        arch: ``(num_residuals, num_channels)`` of each stage.
        num_classes: Number of logits.
        training: Whether to normalize with the statistics of the batch.
        block: Makes a block, as ``Residual`` does.
        implementation: ``None`` (the kernel where it runs), ``"ffi"`` or ``"xla"`` (plain Flax).

    Example:
        >>> import jax
        >>> model = ResNet(((1, 64), (1, 128)), training=False)
        >>> images = jax.numpy.ones((1, 32, 32, 3))
        >>> logits, variables = model.init_with_output(jax.random.key(0), images)
        >>> logits.shape
        (1, 10)
    """

    arch: Sequence[tuple[int, int]]
    num_classes: int = 10
    training: bool = True
    block: Callable[..., nn.Module] = Residual
    implementation: str | None = None

    def setup(self) -> None:
        """Makes the layers, named as in the book."""
        stages = [self._stage(index, *stage) for index, stage in enumerate(self.arch)]
        self.net = nn.Sequential([self._stem(), *stages, self._head()])

    def __call__(self, x: Array) -> Array:
        """Maps images ``(B, H, W, C)`` to logits ``(B, num_classes)``."""
        logits: Array = self.net(x)
        return logits

    def _stem(self) -> nn.Module:
        conv = nn.Conv(_STEM_CHANNELS, (7, 7), strides=(2, 2))
        max_pool = functools.partial(
            pool.max_pool,
            window=(3, 3),
            strides=(2, 2),
            padding="SAME",
            implementation=self.implementation,
        )
        layers = [conv, nn.BatchNorm(not self.training), nn.relu, max_pool]
        return _Stem(layers, implementation=self.implementation)

    def _stage(self, index: int, num_residuals: int, num_channels: int) -> nn.Module:
        block = functools.partial(
            self.block, num_channels, training=self.training, implementation=self.implementation
        )
        first = block(
            use_1x1conv=index > 0 or num_channels != _STEM_CHANNELS,
            strides=(2, 2) if index > 0 else (1, 1),
        )
        return nn.Sequential([first, *(block() for _ in range(num_residuals - 1))])

    def _head(self) -> nn.Module:
        return nn.Sequential(
            [
                lambda x: x.mean(axis=(1, 2), keepdims=True),
                lambda x: x.reshape(x.shape[0], -1),
                nn.Dense(self.num_classes),
            ]
        )


Bottleneck = functools.partial(ResNeXtBlock, groups=1, bot_mul=0.25)

ResNet18 = functools.partial(ResNet, ((2, 64), (2, 128), (2, 256), (2, 512)))
ResNet34 = functools.partial(ResNet, ((3, 64), (4, 128), (6, 256), (3, 512)))
ResNet50 = functools.partial(ResNet, ((3, 256), (4, 512), (6, 1024), (3, 2048)), block=Bottleneck)
ResNet101 = functools.partial(ResNet, ((3, 256), (4, 512), (23, 1024), (3, 2048)), block=Bottleneck)
ResNet152 = functools.partial(ResNet, ((3, 256), (8, 512), (36, 1024), (3, 2048)), block=Bottleneck)
