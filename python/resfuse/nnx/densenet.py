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
from resfuse.nnx.network import Network

__all__ = ["DenseNet", "DenseNet121", "DenseNet169", "DenseNet201"]


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


class DenseNet(Network):
    """A DenseNet-BC.

    ``DenseNet121`` to ``DenseNet201`` are this class with ``architecture`` filled in. torchvision's
    ``features.denseblock1.denselayer1`` and ``features.transition1`` are ``denseblocks[0][0]`` and
    ``transitions[0]``; the rest has its names.

    The arguments are those of :class:`Network`.

    Example:
        >>> model = DenseNet121(num_classes=10, rngs=nnx.Rngs(0))
        >>> model.eval()
        >>> x = jax.numpy.ones((8, 64, 64, 3))
        >>> model(x).shape
        (8, 10)
        >>> [y.shape[1:] for y in model.features(x)]
        [(32, 32, 64), (16, 16, 256), (8, 8, 512), (4, 4, 1024), (2, 2, 1024)]
    """

    kernel_init = initializers.he_normal()

    def make_body(self, architecture: DenseNetArchitecture, in_channels: int, make: Layers) -> None:
        """The stem, dense blocks with transitions between them, and the last norm."""
        stem, (*widths, last) = 2 * architecture.growth, architecture.widths
        self.conv0, self.norm0 = make.conv(in_channels, stem, 7, 2), make.batch_norm(stem)
        self.denseblocks = nnx.List(
            _block(width, depth, architecture, make)
            for (width, _), depth in zip([*widths, last], architecture.depths, strict=True)
        )
        self.transitions = nnx.List(_Transition(width, make) for _, width in widths)
        self.norm5 = make.batch_norm(last[1])

    def make_head(self, architecture: DenseNetArchitecture, num_classes: int, make: Layers) -> None:
        """One dense layer."""
        features = architecture.widths[-1][1]
        self.classifier = make.linear(features, num_classes, uniform_within(features**-0.5))

    def classify(self, x: Array) -> Array:
        """Of the means."""
        return self.classifier(x.mean((-3, -2)))

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
