"""The textbook's basic block and a small classifier for Flax Linen."""

import functools
from collections.abc import Sequence

import jax
from flax import linen as nn
from flax.typing import PaddingLike
from jax import Array

from resfuse.linen.fused import conv_bn_acts, conv_bn_relu
from resfuse.models import layer

__all__ = ["BasicBlock", "ResNetClassifier", "resnet_basic_forward", "resnet_classifier_forward"]


class BasicBlock(nn.Module):
    """Conv 3x3 - BatchNorm - ReLU - Conv 3x3 - BatchNorm - add the input - ReLU.

    The submodules are ``Conv_0``, ``BatchNorm_0``, ``Conv_1`` and ``BatchNorm_1``. Where the input
    has other than ``features`` channels, or a stride is not 1, the skip goes through a 1x1
    convolution and a batch norm, ``conv_proj`` and ``norm_proj``.

    Attributes:
        features: Output channels.
        strides: Strides of the first convolution.
        use_bias: Whether the convolutions have a bias.
        padding: Padding of the 3x3 convolutions, in any of the forms of ``nn.Conv``.
        momentum: Decay of the running statistics.
        epsilon: Added to the variance.
        implementation: ``None`` (the kernel where it runs), ``"ffi"`` or ``"xla"`` (plain Flax).

    Example:
        >>> block = BasicBlock(16)
        >>> x = jax.numpy.ones((2, 8, 8, 16))
        >>> variables = block.init(jax.random.key(0), x)
        >>> y, updates = block.apply(variables, x, mutable=["batch_stats"])
        >>> y.shape
        (2, 8, 8, 16)
    """

    features: int
    strides: int | Sequence[int] = 1
    use_bias: bool = True
    padding: PaddingLike = "SAME"
    momentum: float = 0.99
    epsilon: float = 1e-5
    implementation: str | None = None

    @nn.compact
    def __call__(self, x: Array, use_running_average: bool = False) -> Array:
        """Maps ``(B, H, W, Cin)`` to ``(B, Ho, Wo, features)``; trains unless told otherwise."""
        conv = functools.partial(nn.Conv, self.features, use_bias=self.use_bias)
        norm = functools.partial(nn.BatchNorm, momentum=self.momentum, epsilon=self.epsilon)
        fused = functools.partial(
            conv_bn_acts,
            use_running_average=use_running_average,
            implementation=self.implementation,
        )
        branch = [
            (conv((3, 3), strides=self.strides, padding=self.padding), norm(), nn.relu),
            (conv((3, 3), padding=self.padding), norm(), nn.relu),
        ]
        skip = x
        if layer.projects(x.shape[-1], self.features, self.strides):
            proj = conv((1, 1), strides=self.strides, name="conv_proj")
            skip = fused([(proj, norm(name="norm_proj"), None)], x)
        return fused(branch, x, residual=skip)


class ResNetClassifier(nn.Module):
    """Conv 3x3 - BatchNorm - ReLU, two basic blocks, mean over height and width, Dense.

    Attributes:
        num_classes: Number of logits.
        features: Width of the network; ``None`` takes the number of input channels.
        implementation: ``None`` (the kernel where it runs), ``"ffi"`` or ``"xla"`` (plain Flax).

    Example:
        >>> model = ResNetClassifier(num_classes=10, features=16)
        >>> x = jax.numpy.ones((8, 32, 32, 3))
        >>> variables = model.init(jax.random.key(0), x)
        >>> model.apply(variables, x, use_running_average=True).shape
        (8, 10)
    """

    num_classes: int
    features: int | None = None
    implementation: str | None = None

    @nn.compact
    def __call__(self, x: Array, use_running_average: bool = False) -> Array:
        """Maps ``(B, H, W, C)`` to ``(B, num_classes)``; trains unless told otherwise."""
        features = self.features or x.shape[-1]
        x = conv_bn_relu(
            nn.Conv(features, (3, 3)),
            nn.BatchNorm(),
            x,
            use_running_average=use_running_average,
            implementation=self.implementation,
        )
        for _ in range(2):
            block = BasicBlock(features, implementation=self.implementation)
            x = block(x, use_running_average)
        logits: Array = nn.Dense(self.num_classes)(x.mean(axis=(-3, -2)))
        return logits


def resnet_basic_forward(seed: float, x: Array, features: float) -> Array:
    """A freshly initialized ``BasicBlock`` in training mode on one image.

    Args:
        seed: Of ``jax.random.PRNGKey``, cut to an integer.
        x: The image, ``(H, W, features)``.
        features: Channels of the block, cut to an integer.

    Returns:
        The output, flattened to ``(H * W * features,)``.

    Raises:
        ValueError: If ``x`` has other than ``features`` channels.

    Example:
        >>> resnet_basic_forward(0, jax.numpy.ones((8, 8, 4)), 4).shape
        (256,)
    """
    layer.check_channels(x, int(features), "this forward pass has no projection")
    return _forward(BasicBlock(int(features)), seed, x).reshape(-1)


def resnet_classifier_forward(seed: float, image: Array, num_classes: float) -> Array:
    """A freshly initialized ``ResNetClassifier`` in training mode on one image.

    Args:
        seed: Of ``jax.random.PRNGKey``, cut to an integer.
        image: ``(H, W, C)``; the width of the network is ``C``.
        num_classes: Number of logits, cut to an integer.

    Returns:
        The logits, ``(num_classes,)``.

    Example:
        >>> resnet_classifier_forward(0, jax.numpy.ones((8, 8, 3)), 10).shape
        (10,)
    """
    return _forward(ResNetClassifier(int(num_classes)), seed, image)[0]


def _forward(model: nn.Module, seed: float, image: Array) -> Array:
    batch = image[None]
    variables = model.init(jax.random.PRNGKey(int(seed)), batch)
    y: Array = model.apply(variables, batch, mutable=["batch_stats"])[0]
    return y
