"""DenseNet for Flax NNX."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array
from jax.nn import initializers

from resfuse.kernel import pool
from resfuse.models.convention import uniform_within
from resfuse.models.densenet import DENSENETS, DenseNetArchitecture
from resfuse.models.pooling import halve
from resfuse.nnx.layers import Layers, conv_norm

__all__ = ["DenseNet", "DenseNet121", "DenseNet169", "DenseNet201"]

_INIT = initializers.he_normal()


class _Layer(nnx.Module):
    """``conv2(relu(norm2(conv1(relu(norm1(x))))))``, appended to the channels of ``x``."""

    def __init__(self, in_features: int, architecture: DenseNetArchitecture, make: Layers) -> None:
        growth = architecture.growth
        wide = architecture.bottleneck * growth
        self.norm1, self.conv1 = make.batch_norm(in_features), make.conv(in_features, wide, 1)
        self.norm2, self.conv2 = make.batch_norm(wide), make.conv(wide, growth, 3)

    def __call__(self, x: Array) -> Array:
        y = conv_norm(self.conv1, self.norm2, jax.nn.relu(self.norm1(x)), "relu")
        return jnp.concatenate([x, self.conv2(y)], -1)


class _Transition(nnx.Module):
    """Half the channels and, by a 2x2 mean, half the height and width."""

    def __init__(self, features: int, make: Layers) -> None:
        self.norm, self.conv = make.batch_norm(features), make.conv(features, features // 2, 1)

    def __call__(self, x: Array) -> Array:
        return halve(self.conv(jax.nn.relu(self.norm(x))))


def _block(in_features: int, depth: int, architecture: DenseNetArchitecture, make: Layers) -> Any:
    widths = (in_features + index * architecture.growth for index in range(depth))
    return nnx.List(_Layer(width, architecture, make) for width in widths)


class DenseNet(nnx.Module):
    """A DenseNet-BC.

    ``DenseNet121`` to ``DenseNet201`` are this class with ``architecture`` filled in. torchvision's
    ``features.denseblock1.denselayer1`` and ``features.transition1`` are ``denseblocks[0][0]`` and
    ``transitions[0]``; the rest has its names.

    Args:
        architecture: Which network.
        num_classes: Number of logits.
        in_channels: Channels of the images.
        features_only: Whether the network ends with its feature maps: it has no classifier, and a
            call gives what :meth:`features` gives.
        dtype: In which the layers compute; ``None`` follows inputs and variables, as Flax does.
        rngs: Makes the initial values.

    Example:
        >>> model = DenseNet121(num_classes=10, rngs=nnx.Rngs(0))
        >>> model.eval()
        >>> x = jax.numpy.ones((8, 64, 64, 3))
        >>> model(x).shape
        (8, 10)
        >>> [y.shape[1:] for y in model.features(x)]
        [(32, 32, 64), (16, 16, 256), (8, 8, 512), (4, 4, 1024), (2, 2, 1024)]
    """

    def __init__(
        self,
        architecture: DenseNetArchitecture,
        num_classes: int = 1000,
        *,
        in_channels: int = 3,
        features_only: bool = False,
        dtype: Any = None,
        rngs: nnx.Rngs,
    ) -> None:
        self.preprocess = architecture.preprocessing
        make = Layers(architecture.convention, dtype, rngs, _INIT)
        stem, (*widths, last) = 2 * architecture.growth, architecture.widths
        self.conv0, self.norm0 = make.conv(in_channels, stem, 7, 2), make.batch_norm(stem)
        self.denseblocks = nnx.List(
            _block(width, depth, architecture, make)
            for (width, _), depth in zip([*widths, last], architecture.depths, strict=True)
        )
        self.transitions = nnx.List(_Transition(width, make) for _, width in widths)
        features = last[1]
        self.norm5 = make.batch_norm(features)
        init = uniform_within(features**-0.5)
        self.classifier: Any = None if features_only else make.linear(features, num_classes, init)

    def __call__(self, x: Array) -> Any:
        """Maps ``(B, H, W, C)`` to ``(B, num_classes)``, or ``(H, W, C)`` to ``(num_classes,)``."""
        maps = self.features(x)
        return maps if self.classifier is None else self.classifier(maps[-1].mean((-3, -2)))

    def features(self, x: Array) -> list[Array]:
        """Maps ``(B, H, W, C)``, or one ``(H, W, C)``, to the last map of each resolution."""
        x = conv_norm(self.conv0, self.norm0, x, "relu")
        maps = [x]
        x = pool.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))
        for layers, transition in zip(self.denseblocks, [*self.transitions, None], strict=True):
            for layer in layers:
                x = layer(x)
            x = x if transition else jax.nn.relu(self.norm5(x))
            maps.append(x)
            x = transition(x) if transition else x
        return maps


DenseNet121 = functools.partial(DenseNet, DENSENETS["DenseNet121"])
DenseNet169 = functools.partial(DenseNet, DENSENETS["DenseNet169"])
DenseNet201 = functools.partial(DenseNet, DENSENETS["DenseNet201"])
