"""The layers from which the NNX networks are made."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
from flax import nnx
from jax import Array
from jax.nn import initializers

from resfuse.models.convention import ACTIVATIONS, KAIMING, Activation, Convention
from resfuse.models.resnet_plans import ConvPlan
from resfuse.nnx.fused import conv_bn_act, conv_bn_acts
from resfuse.nnx.unfilled import Unfilled, resized, shape_alone

__all__ = ["ConvNorm", "Layers", "SqueezeExcite", "conv_norm", "conv_norms"]


def conv_norm(
    conv: nnx.Conv, norm: nnx.BatchNorm, x: Array, activation: Activation | None = None
) -> Array:
    """``activation(norm(conv(x)))``: what the kernel computes as one."""
    return conv_bn_act(conv, norm, x, activation=_function(activation))


def _function(activation: Activation | None) -> Callable[[Array], Array] | None:
    return None if activation is None else ACTIVATIONS[activation]


class ConvNorm(nnx.Module):
    """A convolution, a batch norm and an activation."""

    def __init__(self, conv: nnx.Conv, bn: nnx.BatchNorm, activation: Activation | None) -> None:
        self.conv, self.bn, self.activation = conv, bn, activation

    def __call__(self, x: Array) -> Array:
        """Maps ``(B, H, W, C)`` to ``(B, Ho, Wo, features)``, or the same without a batch."""
        return conv_norm(self.conv, self.bn, x, self.activation)


def conv_norms(layers: Sequence[ConvNorm], x: Array) -> Array:
    """Each on what the one before it gives."""
    return conv_bn_acts([(each.conv, each.bn, _function(each.activation)) for each in layers], x)


class SqueezeExcite(nnx.Module):
    """Scales each channel by what two dense layers make of the means of all (Hu et al. 2017)."""

    def __init__(
        self, fc1: nnx.Conv, fc2: nnx.Conv, activation: Activation, gate: Callable[[Array], Array]
    ) -> None:
        self.fc1, self.fc2, self.activation, self.gate = fc1, fc2, activation, gate

    def __call__(self, x: Array) -> Array:
        """Maps ``(..., H, W, C)`` to the same shape."""
        y = self.fc1(x.mean((-3, -2), keepdims=True))
        y = self.fc2(ACTIVATIONS[self.activation](y))
        return x * self.gate(y)


@dataclasses.dataclass(frozen=True)
class Layers:
    """Makes the layers of one network, so that what they share is said once.

    Attributes:
        convention: How convolutions pad and batch norms count.
        dtype: In which the layers compute; ``None`` follows inputs and variables, as Flax does.
        rngs: Makes the initial values, and what dropout draws.
        kernel_init: The initial values of convolutions.
    """

    convention: Convention
    dtype: Any
    rngs: nnx.Rngs
    kernel_init: nnx.Initializer = KAIMING
    _parts: dict[Any, Any] = dataclasses.field(default_factory=dict, init=False, repr=False)

    @property
    def unfilled(self) -> bool:
        """Whether the layers get no values, and are in evaluation mode."""
        return isinstance(self.rngs, Unfilled)

    def init(self, initializer: nnx.Initializer) -> nnx.Initializer:
        """The same, or what makes no array."""
        return shape_alone if self.unfilled else initializer

    def conv(
        self,
        in_features: int,
        features: int,
        size: int,
        strides: int = 1,
        *,
        groups: int = 1,
        use_bias: bool = False,
        padding: Any = None,
    ) -> nnx.Conv:
        """A square convolution; ``padding`` is the convention's unless it is given."""
        return self._conv(
            in_features,
            features,
            kernel_size=(size, size),
            strides=strides,
            padding=self.convention.padding(size) if padding is None else padding,
            feature_group_count=groups,
            use_bias=use_bias,
            kernel_init=self.kernel_init,
        )

    def planned_conv(self, plan: ConvPlan, settings: Mapping[str, Any]) -> nnx.Conv:
        """A ResNet's, with these settings."""
        return self._conv(plan.in_features, plan.features, **settings)

    def _conv(
        self,
        in_features: int,
        features: int,
        *,
        feature_group_count: int,
        kernel_init: nnx.Initializer,
        **settings: Any,
    ) -> nnx.Conv:
        sizes = {
            "in_features": in_features,
            "out_features": features,
            "feature_group_count": feature_group_count,
        }
        return self._made(nnx.Conv, sizes, kernel_init=self.init(kernel_init), **settings)

    def batch_norm(
        self, features: int, scale_init: nnx.Initializer = initializers.ones
    ) -> nnx.BatchNorm:
        """Over all axes but the last."""
        settings = {
            **self.convention.batch_norm,
            "scale_init": self.init(scale_init),
            "use_running_average": self.unfilled,
        }
        return self._made(nnx.BatchNorm, {"num_features": features}, **settings)

    def conv_norm(
        self,
        in_features: int,
        features: int,
        size: int,
        strides: int = 1,
        *,
        groups: int = 1,
        use_bias: bool = False,
        activation: Activation | None = None,
    ) -> ConvNorm:
        """A convolution, a batch norm and an activation."""
        conv = self.conv(in_features, features, size, strides, groups=groups, use_bias=use_bias)
        return ConvNorm(conv, self.batch_norm(features), activation)

    def squeeze_excite(
        self,
        features: int,
        squeezed: int,
        activation: Activation = "relu",
        gate: Callable[[Array], Array] = jax.nn.sigmoid,
    ) -> SqueezeExcite:
        """Down to ``squeezed`` channels and back; dense layers as 1x1 convolutions, with biases."""
        down = self.conv(features, squeezed, 1, use_bias=True)
        up = self.conv(squeezed, features, 1, use_bias=True)
        return SqueezeExcite(down, up, activation, gate)

    def linear(
        self,
        in_features: int,
        features: int,
        kernel_init: nnx.Initializer,
        bias_init: nnx.Initializer = initializers.zeros,
    ) -> nnx.Linear:
        """A dense layer."""
        inits = {"kernel_init": self.init(kernel_init), "bias_init": self.init(bias_init)}
        sizes = {"in_features": in_features, "out_features": features}
        return self._made(nnx.Linear, sizes, **inits)

    def layer_norm(self, features: int, epsilon: float) -> nnx.LayerNorm:
        """Over the channels; the variance is that of the deviations, which does not cancel."""
        settings = {"epsilon": epsilon, "use_fast_variance": False}
        return self._made(nnx.LayerNorm, {"num_features": features}, **settings)

    def _made(self, kind: Callable[..., Any], sizes: Mapping[str, int], **settings: Any) -> Any:
        """A layer of Flax's; without values one for each of the settings, brought to the sizes."""
        make = functools.partial(kind, **sizes, **settings, dtype=self.dtype, rngs=self.rngs)
        if not self.unfilled:
            return make()
        key = kind, tuple(settings.items())
        if key not in self._parts:
            self._parts[key] = make()
        return resized(self._parts[key], sizes)

    def dropout(self, rate: float, broadcast_dims: tuple[int, ...] = ()) -> nnx.Dropout:
        """Drops single values in training, or whole slices along some axes."""
        rngs = self.rngs if rate else None
        return nnx.Dropout(
            rate, broadcast_dims=broadcast_dims, deterministic=self.unfilled, rngs=rngs
        )

    def stochastic_depth(self, rate: float) -> nnx.Dropout:
        """Drops the branch of a whole image in training (Huang et al. 2016)."""
        return self.dropout(rate, (-3, -2, -1))
