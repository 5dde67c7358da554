"""Residual networks for Flax Linen on the fused op.

The modules hold plain ``nn.Conv`` and ``nn.BatchNorm`` submodules, so names, shapes, initial values
and checkpoints are those of the same network written in plain Flax. On the fused path the
submodules are read and not called: to capture their intermediates, use ``implementation="xla"``.
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax
from flax import linen as nn
from flax.typing import PaddingLike
from jax import Array

from resfuse import layer
from resfuse.support import Weights

__all__ = [
    "BasicBlock",
    "ResNetClassifier",
    "conv_bn_relu",
    "resnet_basic_forward",
    "resnet_classifier_forward",
]


def conv_bn_relu(
    conv: nn.Conv,
    bn: nn.BatchNorm,
    x: Array,
    *,
    residual: Array | None = None,
    relu: bool = True,
    use_running_average: bool | None = None,
    implementation: str | None = None,
) -> Array:
    """``relu(bn(conv(x)) + residual)`` as one op, inside a Linen module.

    The result, the variables and the update of the running statistics are those of calling the
    submodules. That is what happens while initializing, with ``implementation="xla"``, and for
    settings that the op cannot express (dilation, masks, circular padding, ``axis_name`` in
    training, computation in another dtype than float32).

    Args:
        conv: A submodule of the caller.
        bn: A submodule of the caller, with as many features.
        x: The input, ``(B, H, W, Cin)`` or ``(H, W, Cin)``. Its dtype is promoted as Flax does.
        residual: Added before the ReLU, of the shape of the output.
        relu: Whether a ReLU ends the layer.
        use_running_average: As in ``nn.BatchNorm``: set it here or in ``bn``.
        implementation: ``None`` (the kernel where it runs), ``"ffi"`` or ``"xla"`` (plain Flax).

    Returns:
        The output, ``(B, Ho, Wo, Cout)`` or ``(Ho, Wo, Cout)``.

    Raises:
        ValueError: For an unknown ``implementation``, or where ``"ffi"`` meets a setting that the
            op cannot express.
        flax.errors.ModifyScopeVariableError: In training mode, if ``batch_stats`` is not mutable.

    Example:
        >>> class Stem(nn.Module):
        ...     @nn.compact
        ...     def __call__(self, x):
        ...         conv, bn = nn.Conv(64, (7, 7), strides=2), nn.BatchNorm()
        ...         return conv_bn_relu(conv, bn, x, use_running_average=True)
        >>> x = jax.numpy.ones((1, 32, 32, 3))
        >>> y, variables = Stem().init_with_output(jax.random.key(0), x)
        >>> y.shape
        (1, 16, 16, 64)
    """
    average = nn.merge_param("use_running_average", bn.use_running_average, use_running_average)
    fused = layer.run(
        conv,
        bn,
        _weights(conv, bn, x),
        x,
        residual,
        relu=relu,
        training=not average,
        implementation=implementation,
    )
    if fused is None:
        return layer.add_relu(bn(conv(x), use_running_average), residual, relu)
    y, mean, var = fused
    if not average:
        bn.put_variable("batch_stats", "mean", mean)
        bn.put_variable("batch_stats", "var", var)
    return y


def _weights(conv: nn.Conv, bn: nn.BatchNorm, x: Array) -> Weights | None:
    """The variables, if they are there and as Flax would make them."""
    if conv.is_initializing():
        return None
    size = (conv.kernel_size,) if isinstance(conv.kernel_size, int) else tuple(conv.kernel_size)
    vector = (conv.features,)
    expected = (
        (conv, "params", "kernel", (*size, x.shape[-1] // conv.feature_group_count, *vector)),
        (conv, "params", "bias", vector if conv.use_bias else None),
        (bn, "params", "scale", vector if bn.use_scale else None),
        (bn, "params", "bias", vector if bn.use_bias else None),
        (bn, "batch_stats", "mean", vector),
        (bn, "batch_stats", "var", vector),
    )
    values: list[Any] = [
        None if shape is None else nn.meta.unbox(module.get_variable(collection, name))
        for module, collection, name, shape in expected
    ]
    found = [None if value is None else value.shape for value in values]
    return Weights(*values) if found == [shape for *_, shape in expected] else None


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
            conv_bn_relu,
            use_running_average=use_running_average,
            implementation=self.implementation,
        )
        y = fused(conv((3, 3), strides=self.strides, padding=self.padding), norm(), x)
        if layer.projects(x.shape[-1], self.features, self.strides):
            proj = conv((1, 1), strides=self.strides, name="conv_proj")
            x = fused(proj, norm(name="norm_proj"), x, relu=False)
        return fused(conv((3, 3), padding=self.padding), norm(), y, residual=x)


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
