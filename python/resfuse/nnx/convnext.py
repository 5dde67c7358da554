"""ConvNeXt for Flax NNX."""

import functools
import itertools
from collections.abc import Iterable
from typing import Any

import jax
from flax import nnx
from jax import Array
from jax.nn import initializers

from resfuse.models.convention import TORCH
from resfuse.models.convnext import CONVNEXTS, ConvNeXtArchitecture
from resfuse.nnx.layers import Layers

__all__ = ["ConvNeXt", "ConvNeXtBase", "ConvNeXtSmall", "ConvNeXtTiny"]

_EXPANSION = 4
_INIT = initializers.normal(0.02)  # the papers truncate at 100 deviations


def _layer_norm(features: int, architecture: ConvNeXtArchitecture, make: Layers) -> nnx.LayerNorm:
    """Over the channels; the variance is that of the deviations, which does not cancel."""
    return nnx.LayerNorm(
        features,
        epsilon=architecture.epsilon,
        use_fast_variance=False,
        dtype=make.dtype,
        rngs=make.rngs,
    )


class _Block(nnx.Module):
    """``x + gamma * fc2(gelu(fc1(norm(conv(x)))))``, with a depthwise 7x7 convolution."""

    def __init__(
        self, features: int, rate: float, architecture: ConvNeXtArchitecture, make: Layers
    ) -> None:
        wide = _EXPANSION * features
        self.conv = make.conv(features, features, 7, groups=features, use_bias=True)
        self.norm = _layer_norm(features, architecture, make)
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
        self.norm = _layer_norm(in_features, architecture, make)
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
        self.norm = _layer_norm(features, architecture, make)

    def __call__(self, x: Array) -> Array:
        return self.norm(self.conv(x))


class ConvNeXt(nnx.Module):
    """A ConvNeXt.

    ``ConvNeXtTiny`` to ``ConvNeXtBase`` are this class with ``architecture`` filled in. timm's
    ``stages.1.downsample.0`` and ``stages.1.blocks.0.conv_dw`` are ``stages[1].downsample.norm``
    and ``stages[1].blocks[0].conv``, its ``mlp.fc1`` and ``head.norm`` are ``fc1`` and ``norm``.

    Args:
        architecture: Which network.
        num_classes: Number of logits.
        in_channels: Channels of the images.
        features_only: Whether the network ends with its feature maps: it has no classifier, and a
            call gives what :meth:`features` gives.
        dtype: In which the layers compute; ``None`` follows inputs and variables, as Flax does.
        rngs: Makes the initial values, and what stochastic depth draws.

    Example:
        >>> model = ConvNeXtTiny(num_classes=10, rngs=nnx.Rngs(0))
        >>> model.eval()
        >>> x = jax.numpy.ones((8, 64, 64, 3))
        >>> model(x).shape
        (8, 10)
        >>> [y.shape[1:] for y in model.features(x)]
        [(16, 16, 96), (8, 8, 192), (4, 4, 384), (2, 2, 768)]
    """

    def __init__(
        self,
        architecture: ConvNeXtArchitecture,
        num_classes: int = 1000,
        *,
        in_channels: int = 3,
        features_only: bool = False,
        dtype: Any = None,
        rngs: nnx.Rngs,
    ) -> None:
        self.preprocess = architecture.preprocessing
        make = Layers(TORCH, dtype, rngs, _INIT)
        first, *_, last = architecture.features
        self.stem = _Stem(in_channels, first, architecture, make)
        self.stages = _stages(architecture, make)
        self.norm: Any = None if features_only else _layer_norm(last, architecture, make)
        self.fc: Any = None if features_only else make.linear(last, num_classes, _INIT)

    def __call__(self, x: Array) -> Any:
        """Maps ``(B, H, W, C)`` to ``(B, num_classes)``, or ``(H, W, C)`` to ``(num_classes,)``."""
        maps = self.features(x)
        return maps if self.fc is None else self.fc(self.norm(maps[-1].mean((-3, -2))))

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
