"""VGG with batch norm for Flax NNX."""

import functools

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array
from jax.nn import initializers

from resfuse.kernel import pool
from resfuse.models.pooling import adaptive_average
from resfuse.models.vgg import VGGS, VGGArchitecture
from resfuse.nnx.layers import Layers, conv_norms
from resfuse.nnx.network import Network

__all__ = ["VGG", "VGG11", "VGG13", "VGG16", "VGG19"]

_POOLED = 7  # pixels on each side of what the dense layers take
_INIT = initializers.normal(0.01)


class _Classifier(nnx.Module):
    """Three dense layers; dropout comes before the last two.

    They take the pixels of one channel after those of another, as torch's published weights do.
    """

    def __init__(self, architecture: VGGArchitecture, num_classes: int, make: Layers) -> None:
        hidden = architecture.hidden_features
        self.fc1 = make.linear(_POOLED**2 * architecture.features[-1], hidden, _INIT)
        self.fc2 = make.linear(hidden, hidden, _INIT)
        self.fc3 = make.linear(hidden, num_classes, _INIT)
        self.dropout = make.dropout(architecture.dropout)

    def __call__(self, x: Array) -> Array:
        x = jnp.moveaxis(adaptive_average(x, _POOLED), -1, -3)
        x = self.dropout(jax.nn.relu(self.fc1(x.reshape(*x.shape[:-3], -1))))
        return self.fc3(self.dropout(jax.nn.relu(self.fc2(x))))


class VGG(Network):
    """A VGG with batch norm.

    ``VGG11`` to ``VGG19`` are this class with ``architecture`` filled in. torchvision's
    ``features.3`` and ``features.4`` are, in VGG16, ``stages[0][1].conv`` and ``.bn``; its
    ``classifier.0``, ``.3`` and ``.6`` are ``classifier.fc1``, ``fc2`` and ``fc3``.

    The arguments are those of :class:`Network`.

    Example:
        >>> model = VGG11(features_only=True, rngs=nnx.Rngs(0))
        >>> model.eval()
        >>> [y.shape[1:] for y in model(jax.numpy.ones((8, 64, 64, 3)))[2:]]
        [(16, 16, 256), (8, 8, 512), (4, 4, 512), (2, 2, 512)]
    """

    def make_body(self, architecture: VGGArchitecture, in_channels: int, make: Layers) -> None:
        """Stages of 3x3 convolutions."""
        widths = in_channels, *architecture.features
        conv_norm = functools.partial(make.conv_norm, size=3, use_bias=True, activation="relu")
        self.stages = nnx.List(
            nnx.List(conv_norm(before if i == 0 else width, width) for i in range(depth))
            for depth, before, width in zip(
                architecture.depths, widths, architecture.features, strict=False
            )
        )

    def make_head(self, architecture: VGGArchitecture, num_classes: int, make: Layers) -> None:
        """Three dense layers."""
        self.classifier = _Classifier(architecture, num_classes, make)

    def classify(self, x: Array) -> Array:
        """Of 7x7 means."""
        return self.classifier(x)

    def features(self, x: Array) -> list[Array]:
        """Maps ``(B, H, W, C)``, or one ``(H, W, C)``, to each stage's last map, and their pool."""
        maps = []
        for stage in self.stages:
            x = conv_norms(stage, x)
            maps.append(x)
            x = pool.max_pool(x, (2, 2), (2, 2), "VALID")
        return [*maps, x]


VGG11 = functools.partial(VGG, VGGS["VGG11"])
VGG13 = functools.partial(VGG, VGGS["VGG13"])
VGG16 = functools.partial(VGG, VGGS["VGG16"])
VGG19 = functools.partial(VGG, VGGS["VGG19"])
