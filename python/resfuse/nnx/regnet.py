"""RegNetX and RegNetY for Flax NNX."""

import functools
import itertools
from typing import Any

import jax
from flax import nnx
from jax import Array
from jax.nn import initializers

from resfuse.models.regnet import REGNETS, RegNetArchitecture, RegNetStage
from resfuse.nnx.layers import Layers, conv_norms
from resfuse.nnx.network import Network

__all__ = [
    "RegNet",
    "RegNetX1_6GF",
    "RegNetX3_2GF",
    "RegNetX4GF",
    "RegNetX6_4GF",
    "RegNetX8GF",
    "RegNetX12GF",
    "RegNetX16GF",
    "RegNetX32GF",
    "RegNetX200MF",
    "RegNetX400MF",
    "RegNetX600MF",
    "RegNetX800MF",
    "RegNetY1_6GF",
    "RegNetY3_2GF",
    "RegNetY4GF",
    "RegNetY6_4GF",
    "RegNetY8GF",
    "RegNetY12GF",
    "RegNetY16GF",
    "RegNetY32GF",
    "RegNetY200MF",
    "RegNetY400MF",
    "RegNetY600MF",
    "RegNetY800MF",
    "TimmRegNetX400MF",
    "TimmRegNetY8GF",
    "TimmRegNetY800MF",
]


class _Block(nnx.Module):
    """``relu(x + c(squeeze_excite(b(a(x)))))``: 1x1, 3x3 in groups, 1x1, all of the same width."""

    def __init__(
        self, in_features: int, stage: RegNetStage, strides: int, squeeze: float, make: Layers
    ) -> None:
        features = stage.features
        relu = functools.partial(make.conv_norm, activation="relu")
        self.a = relu(in_features, features, 1)
        self.b = relu(features, features, 3, strides, groups=features // stage.group)
        squeezed = round(squeeze * in_features)
        self.squeeze_excite = make.squeeze_excite(features, squeezed) if squeezed else None
        self.c = make.conv_norm(features, features, 1)
        projects = strides != 1 or in_features != features
        self.proj = make.conv_norm(in_features, features, 1, strides) if projects else None

    def __call__(self, x: Array) -> Array:
        if self.squeeze_excite is None:
            y = conv_norms([self.a, self.b, self.c], x)
        else:
            y = self.c(self.squeeze_excite(conv_norms([self.a, self.b], x)))
        return jax.nn.relu((x if self.proj is None else self.proj(x)) + y)


class RegNet(Network):
    """A RegNetX or RegNetY.

    ``RegNetX200MF`` to ``RegNetY32GF``, of so many million or billion multiplications, are this
    class with ``architecture`` filled in. Where torchvision and timm have other widths, timm's name
    begins with ``Timm``. torchvision's ``trunk_output.block2.block2-0.f.a.0`` is
    ``stages[1][0].a.conv``.

    The arguments are those of :class:`Network`.

    Example:
        >>> model = RegNetY400MF(num_classes=10, rngs=nnx.Rngs(0))
        >>> model.eval()
        >>> x = jax.numpy.ones((8, 64, 64, 3))
        >>> model(x).shape
        (8, 10)
        >>> [y.shape[1:] for y in model.features(x)]
        [(32, 32, 32), (16, 16, 48), (8, 8, 104), (4, 4, 208), (2, 2, 440)]
    """

    def make_body(self, architecture: RegNetArchitecture, in_channels: int, make: Layers) -> None:
        """The stem, and stages that halve the resolution."""
        width = architecture.stem_features
        self.stem = make.conv_norm(in_channels, width, 3, 2, activation="relu")
        self.stages: nnx.List[Any] = nnx.List()
        for stage in architecture.stages:
            self.stages.append(_stage(width, stage, architecture.squeeze, make))
            width = stage.features

    def make_head(self, architecture: RegNetArchitecture, num_classes: int, make: Layers) -> None:
        """One dense layer."""
        width = architecture.stages[-1].features
        self.fc = make.linear(width, num_classes, initializers.normal(0.01))

    def classify(self, x: Array) -> Array:
        """Of the means."""
        return self.fc(x.mean((-3, -2)))

    def features(self, x: Array) -> list[Array]:
        """Maps ``(B, H, W, C)``, or one ``(H, W, C)``, to the stem's map and each stage's."""
        maps = [self.stem(x)]
        for stage in self.stages:
            x = maps[-1]
            for block in stage:
                x = block(x)
            maps.append(x)
        return maps


def _stage(in_features: int, stage: RegNetStage, squeeze: float, make: Layers) -> nnx.List[Any]:
    """Blocks of which the first has stride 2."""
    settings = itertools.chain([(in_features, 2)], itertools.repeat((stage.features, 1)))
    return nnx.List(
        _Block(width, stage, strides, squeeze, make)
        for width, strides in itertools.islice(settings, stage.depth)
    )


RegNetX400MF = functools.partial(RegNet, REGNETS["RegNetX400MF"])
RegNetX800MF = functools.partial(RegNet, REGNETS["RegNetX800MF"])
RegNetX1_6GF = functools.partial(RegNet, REGNETS["RegNetX1_6GF"])
RegNetX3_2GF = functools.partial(RegNet, REGNETS["RegNetX3_2GF"])
RegNetX8GF = functools.partial(RegNet, REGNETS["RegNetX8GF"])
RegNetX16GF = functools.partial(RegNet, REGNETS["RegNetX16GF"])
RegNetX32GF = functools.partial(RegNet, REGNETS["RegNetX32GF"])
RegNetY400MF = functools.partial(RegNet, REGNETS["RegNetY400MF"])
RegNetY800MF = functools.partial(RegNet, REGNETS["RegNetY800MF"])
RegNetY1_6GF = functools.partial(RegNet, REGNETS["RegNetY1_6GF"])
RegNetY3_2GF = functools.partial(RegNet, REGNETS["RegNetY3_2GF"])
RegNetY8GF = functools.partial(RegNet, REGNETS["RegNetY8GF"])
RegNetY16GF = functools.partial(RegNet, REGNETS["RegNetY16GF"])
RegNetY32GF = functools.partial(RegNet, REGNETS["RegNetY32GF"])
RegNetX200MF = functools.partial(RegNet, REGNETS["RegNetX200MF"])
RegNetX600MF = functools.partial(RegNet, REGNETS["RegNetX600MF"])
RegNetX4GF = functools.partial(RegNet, REGNETS["RegNetX4GF"])
RegNetX6_4GF = functools.partial(RegNet, REGNETS["RegNetX6_4GF"])
RegNetX12GF = functools.partial(RegNet, REGNETS["RegNetX12GF"])
RegNetY200MF = functools.partial(RegNet, REGNETS["RegNetY200MF"])
RegNetY600MF = functools.partial(RegNet, REGNETS["RegNetY600MF"])
RegNetY4GF = functools.partial(RegNet, REGNETS["RegNetY4GF"])
RegNetY6_4GF = functools.partial(RegNet, REGNETS["RegNetY6_4GF"])
RegNetY12GF = functools.partial(RegNet, REGNETS["RegNetY12GF"])
TimmRegNetX400MF = functools.partial(RegNet, REGNETS["TimmRegNetX400MF"])
TimmRegNetY800MF = functools.partial(RegNet, REGNETS["TimmRegNetY800MF"])
TimmRegNetY8GF = functools.partial(RegNet, REGNETS["TimmRegNetY8GF"])
