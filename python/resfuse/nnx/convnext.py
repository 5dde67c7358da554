"""ConvNeXt for Flax NNX."""

import functools
import itertools
from collections.abc import Iterable
from typing import Any

import jax
from flax import nnx
from jax import Array
from jax.nn import initializers

from resfuse.models.convnext import CONVNEXTS, ConvNeXtArchitecture
from resfuse.nnx.layers import Layers
from resfuse.nnx.network import Network

__all__ = ["ConvNeXt", "ConvNeXtBase", "ConvNeXtSmall", "ConvNeXtTiny"]

_EXPANSION = 4
_INIT = initializers.normal(0.02)  # the papers truncate at 100 deviations


class _Block(nnx.Module):
    """``x + gamma * fc2(gelu(fc1(norm(conv(x)))))``, with a depthwise 7x7 convolution."""

    def __init__(
        self, features: int, rate: float, architecture: ConvNeXtArchitecture, make: Layers
    ) -> None:
        wide = _EXPANSION * features
        self.conv = make.conv(features, features, 7, groups=features, use_bias=True)
        self.norm = make.layer_norm(features, architecture.epsilon)
        self.fc1 = make.linear(features, wide, _INIT)
        self.fc2 = make.linear(wide, features, _INIT)
        gamma = initializers.constant(architecture.layer_scale)
        self.gamma = nnx.Param(gamma(make.rngs.params(), (features,), jax.numpy.float32))
        self.stochastic_depth = make.stochastic_depth(rate)

    def __call__(self, x: Array) -> Array:
        y = self.norm(self.conv(x))
        y = self.fc2(jax.nn.gelu(self.fc1(y), approximate=False))
        return x + self.stochastic_depth(self.gamma[...].astype(y.dtype) * y)


class _Downsample(nnx.Module):
    """A layer norm, then a 2x2 convolution with stride 2."""

    def __init__(
        self, in_features: int, features: int, architecture: ConvNeXtArchitecture, make: Layers
    ) -> None:
        self.norm = make.layer_norm(in_features, architecture.epsilon)
        self.conv = make.conv(in_features, features, 2, 2, use_bias=True, padding="VALID")

    def __call__(self, x: Array) -> Array:
        return self.conv(self.norm(x))


class _Stage(nnx.Module):
    """Blocks at one resolution, which all stages but the first halve before."""

    def __init__(
        self,
        in_features: int | None,
        features: int,
        rates: Iterable[float],
        architecture: ConvNeXtArchitecture,
        make: Layers,
    ) -> None:
        settings = features, architecture, make
        self.downsample = None if in_features is None else _Downsample(in_features, *settings)
        self.blocks = nnx.List(_Block(features, rate, architecture, make) for rate in rates)

    def __call__(self, x: Array) -> Array:
        x = x if self.downsample is None else self.downsample(x)
        for block in self.blocks:
            x = block(x)
        return x


class _Stem(nnx.Module):
    """A 4x4 convolution with stride 4, then a layer norm."""

    def __init__(
        self, in_channels: int, features: int, architecture: ConvNeXtArchitecture, make: Layers
    ) -> None:
        self.conv = make.conv(in_channels, features, 4, 4, use_bias=True, padding="VALID")
        self.norm = make.layer_norm(features, architecture.epsilon)

    def __call__(self, x: Array) -> Array:
        return self.norm(self.conv(x))


class ConvNeXt(Network):
    """A ConvNeXt.

    ``ConvNeXtTiny`` to ``ConvNeXtBase`` are this class with ``architecture`` filled in. timm's
    ``stages.1.downsample.0`` and ``stages.1.blocks.0.conv_dw`` are ``stages[1].downsample.norm``
    and ``stages[1].blocks[0].conv``, its ``mlp.fc1`` and ``head.norm`` are ``fc1`` and ``norm``.

    The arguments are those of :class:`Network`.

    Example:
        >>> model = ConvNeXtTiny(num_classes=10, rngs=nnx.Rngs(0))
        >>> model.eval()
        >>> x = jax.numpy.ones((8, 64, 64, 3))
        >>> model(x).shape
        (8, 10)
        >>> [y.shape[1:] for y in model.features(x)]
        [(16, 16, 96), (8, 8, 192), (4, 4, 384), (2, 2, 768)]
    """

    kernel_init = _INIT

    def make_body(self, architecture: ConvNeXtArchitecture, in_channels: int, make: Layers) -> None:
        """The stem and the stages."""
        self.stem = _Stem(in_channels, architecture.features[0], architecture, make)
        self.stages = _stages(architecture, make)

    def make_head(self, architecture: ConvNeXtArchitecture, num_classes: int, make: Layers) -> None:
        """A layer norm and a dense layer."""
        last = architecture.features[-1]
        self.norm = make.layer_norm(last, architecture.last_epsilon)
        self.fc = make.linear(last, num_classes, _INIT)

    def classify(self, x: Array) -> Array:
        """Of the means."""
        return self.fc(self.norm(x.mean((-3, -2))))

    def features(self, x: Array) -> list[Array]:
        """Maps ``(B, H, W, C)``, or one ``(H, W, C)``, to the output of each stage."""
        maps = [self.stem(x)]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        return maps[1:]


def _stages(architecture: ConvNeXtArchitecture, make: Layers) -> nnx.List[Any]:
    """Blocks whose branches are dropped the more often, the later they come."""
    last = max(1, sum(architecture.depths) - 1)
    rates = (architecture.stochastic_depth * index / last for index in itertools.count())
    widths = architecture.features
    return nnx.List(
        _Stage(before, width, list(itertools.islice(rates, depth)), architecture, make)
        for before, width, depth in zip((None, *widths), widths, architecture.depths, strict=False)
    )


ConvNeXtTiny = functools.partial(ConvNeXt, CONVNEXTS["ConvNeXtTiny"])
ConvNeXtSmall = functools.partial(ConvNeXt, CONVNEXTS["ConvNeXtSmall"])
ConvNeXtBase = functools.partial(ConvNeXt, CONVNEXTS["ConvNeXtBase"])
