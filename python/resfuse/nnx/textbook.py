"""The textbook's basic block and a small classifier for Flax NNX."""

import functools
from collections.abc import Sequence

from flax import nnx
from flax.typing import PaddingLike
from jax import Array

from resfuse.arguments import check_implementation
from resfuse.models import layer
from resfuse.nnx.fused import conv_bn_acts, conv_bn_relu

__all__ = ["BasicBlock", "ResNetClassifier", "resnet_basic_forward", "resnet_classifier_forward"]


class BasicBlock(nnx.Module):
    """Conv 3x3 - BatchNorm - ReLU - Conv 3x3 - BatchNorm - add the input - ReLU.

    Attributes ``conv1``, ``bn1``, ``conv2`` and ``bn2``. Where the input has other than
    ``features`` channels, or a stride is not 1, the skip goes through a 1x1 convolution and a batch
    norm, ``conv_proj`` and ``bn_proj``; otherwise those are ``None``.

    Args:
        features: Output channels.
        in_features: Input channels; ``None`` means ``features``.
        strides: Strides of the first convolution.
        use_bias: Whether the convolutions have a bias.
        padding: Padding of the 3x3 convolutions, in any of the forms of ``nnx.Conv``.
        momentum: Decay of the running statistics.
        epsilon: Added to the variance.
        implementation: ``None`` (the kernel where it runs), ``"ffi"`` or ``"xla"`` (plain Flax).
        rngs: Makes the initial values.

    Raises:
        ValueError: For an unknown ``implementation``.

    Example:
        >>> import jax
        >>> block = BasicBlock(16, rngs=nnx.Rngs(0))
        >>> block.eval()
        >>> block(jax.numpy.ones((2, 8, 8, 16))).shape
        (2, 8, 8, 16)
    """

    def __init__(
        self,
        features: int,
        *,
        in_features: int | None = None,
        strides: int | Sequence[int] = 1,
        use_bias: bool = True,
        padding: PaddingLike = "SAME",
        momentum: float = 0.99,
        epsilon: float = 1e-5,
        implementation: str | None = None,
        rngs: nnx.Rngs,
    ) -> None:
        self.implementation = check_implementation(implementation)
        in_features = in_features or features
        conv = functools.partial(nnx.Conv, out_features=features, use_bias=use_bias, rngs=rngs)
        norm = functools.partial(
            nnx.BatchNorm, features, momentum=momentum, epsilon=epsilon, rngs=rngs
        )
        self.conv1 = conv(in_features, kernel_size=(3, 3), strides=strides, padding=padding)
        self.bn1 = norm()
        self.conv2 = conv(features, kernel_size=(3, 3), padding=padding)
        self.bn2 = norm()
        proj = layer.projects(in_features, features, strides)
        self.conv_proj = conv(in_features, kernel_size=(1, 1), strides=strides) if proj else None
        self.bn_proj = norm() if proj else None

    def __call__(self, x: Array, use_running_average: bool | None = None) -> Array:
        """Maps ``(B, H, W, Cin)``, or one ``(H, W, Cin)``, to as many ``(Ho, Wo, features)``."""
        fused = functools.partial(
            conv_bn_acts,
            use_running_average=use_running_average,
            implementation=self.implementation,
        )
        skip = x
        if self.conv_proj is not None and self.bn_proj is not None:
            skip = fused([(self.conv_proj, self.bn_proj, None)], x)
        branch = [(self.conv1, self.bn1, nnx.relu), (self.conv2, self.bn2, nnx.relu)]
        return fused(branch, x, residual=skip)


class ResNetClassifier(nnx.Module):
    """Conv 3x3 - BatchNorm - ReLU, two basic blocks, mean over height and width, Linear.

    Attributes ``stem_conv``, ``stem_bn``, ``block1``, ``block2`` and ``head``.

    Args:
        in_channels: Channels of the image.
        features: Width of the network.
        num_classes: Number of logits.
        implementation: ``None`` (the kernel where it runs), ``"ffi"`` or ``"xla"`` (plain Flax).
        rngs: Makes the initial values.

    Raises:
        ValueError: For an unknown ``implementation``.

    Example:
        >>> import jax
        >>> model = ResNetClassifier(3, 16, 10, rngs=nnx.Rngs(0))
        >>> model.eval()
        >>> model(jax.numpy.ones((8, 32, 32, 3))).shape
        (8, 10)
    """

    def __init__(
        self,
        in_channels: int,
        features: int,
        num_classes: int,
        *,
        implementation: str | None = None,
        rngs: nnx.Rngs,
    ) -> None:
        self.implementation = check_implementation(implementation)
        self.stem_conv = nnx.Conv(in_channels, features, (3, 3), rngs=rngs)
        self.stem_bn = nnx.BatchNorm(features, rngs=rngs)
        self.block1 = BasicBlock(features, implementation=implementation, rngs=rngs)
        self.block2 = BasicBlock(features, implementation=implementation, rngs=rngs)
        self.head = nnx.Linear(features, num_classes, rngs=rngs)

    def __call__(self, x: Array, use_running_average: bool | None = None) -> Array:
        """Maps ``(B, H, W, C)`` to ``(B, num_classes)``, or ``(H, W, C)`` to ``(num_classes,)``."""
        x = conv_bn_relu(
            self.stem_conv,
            self.stem_bn,
            x,
            use_running_average=use_running_average,
            implementation=self.implementation,
        )
        x = self.block1(x, use_running_average)
        x = self.block2(x, use_running_average)
        return self.head(x.mean(axis=(-3, -2)))


def resnet_basic_forward(seed: float, x: Array, features: float) -> Array:
    """A freshly initialized ``BasicBlock`` in training mode on one image.

    Args:
        seed: Of ``nnx.Rngs``, cut to an integer.
        x: The image, ``(H, W, features)``.
        features: Channels of the block, cut to an integer.

    Returns:
        The output, flattened to ``(H * W * features,)``.

    Raises:
        ValueError: If ``x`` has other than ``features`` channels.

    Example:
        >>> import jax
        >>> resnet_basic_forward(0, jax.numpy.ones((8, 8, 4)), 4).shape
        (256,)
    """
    layer.check_channels(x, int(features), "this forward pass has no projection")
    block = BasicBlock(int(features), rngs=nnx.Rngs(int(seed)))
    return block(x, use_running_average=False).reshape(-1)


def resnet_classifier_forward(seed: float, image: Array, num_classes: float) -> Array:
    """A freshly initialized ``ResNetClassifier`` of width 4 in training mode on one image.

    Args:
        seed: Of ``nnx.Rngs``, cut to an integer.
        image: ``(H, W, C)``.
        num_classes: Number of logits, cut to an integer.

    Returns:
        The logits, ``(num_classes,)``.

    Example:
        >>> import jax
        >>> resnet_classifier_forward(0, jax.numpy.ones((8, 8, 3)), 10).shape
        (10,)
    """
    model = ResNetClassifier(image.shape[-1], 4, int(num_classes), rngs=nnx.Rngs(int(seed)))
    return model(image, use_running_average=False)
