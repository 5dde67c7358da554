"""MobileNetV2, MobileNetV3, EfficientNet and EfficientNet-Lite for Flax NNX."""

import functools
from typing import Any

import jax
from flax import nnx
from jax import Array
from jax.nn import initializers

from resfuse.models.convention import ACTIVATIONS, uniform_within
from resfuse.models.mobilenet import MOBILENETS, InvertedResidualPlan, MobileNetArchitecture
from resfuse.nnx.layers import ConvNorm, Layers, conv_norms
from resfuse.nnx.network import Network

__all__ = [
    "EfficientNetB0",
    "EfficientNetB1",
    "EfficientNetB2",
    "EfficientNetB3",
    "EfficientNetB4",
    "EfficientNetLite0",
    "EfficientNetLite1",
    "EfficientNetLite2",
    "EfficientNetLite3",
    "EfficientNetLite4",
    "MobileNet",
    "MobileNetV2",
    "MobileNetV3Large",
    "MobileNetV3Small",
]

_GATES = {"sigmoid": jax.nn.sigmoid, "hard_sigmoid": jax.nn.hard_sigmoid}


class _InvertedResidual(nnx.Module):
    """``expand`` - ``depthwise`` - ``squeeze_excite`` - ``project``, which has no activation."""

    def __init__(
        self,
        plan: InvertedResidualPlan,
        architecture: MobileNetArchitecture,
        stochastic_depth: float,
        make: Layers,
    ) -> None:
        wide, activation = plan.expanded, plan.activation
        self.strides = plan.strides
        expands = wide != plan.in_features
        self.expand = (
            make.conv_norm(plan.in_features, wide, 1, activation=activation) if expands else None
        )
        self.depthwise = make.conv_norm(
            wide, wide, plan.size, plan.strides, groups=wide, activation=activation
        )
        excite = architecture.excite_activation, _GATES[architecture.excite_gate]
        self.squeeze_excite = (
            make.squeeze_excite(wide, plan.squeezed, *excite) if plan.squeezed else None
        )
        self.project = make.conv_norm(wide, plan.features, 1)
        self.stochastic_depth = make.stochastic_depth(stochastic_depth) if plan.skips else None

    def __call__(self, x: Array) -> Array:
        wide = [self.depthwise] if self.expand is None else [self.expand, self.depthwise]
        if self.squeeze_excite is None:
            y = conv_norms([*wide, self.project], x)
        else:
            y = self.project(self.squeeze_excite(conv_norms(wide, x)))
        return y if self.stochastic_depth is None else self.stochastic_depth(y) + x


class _Classifier(nnx.Module):
    """From the means of the channels to the logits."""

    def __init__(self, architecture: MobileNetArchitecture, num_classes: int, make: Layers) -> None:
        features, hidden = architecture.head_features, architecture.hidden_features
        init = initializers.normal(0.01)
        self.activation = architecture.activation
        self.hidden = make.linear(features, hidden, init) if hidden else None
        self.dropout = make.dropout(architecture.dropout)
        init = uniform_within(num_classes**-0.5) if architecture.uniform_init else init
        self.fc = make.linear(hidden or features, num_classes, init)

    def __call__(self, x: Array) -> Array:
        x = x if self.hidden is None else ACTIVATIONS[self.activation](self.hidden(x))
        return self.fc(self.dropout(x))


def _stages(architecture: MobileNetArchitecture, make: Layers) -> nnx.List[Any]:
    """Blocks whose branches are dropped the more often, the later they come."""
    count = sum(len(plans) for plans in architecture.stages)
    rates = (architecture.stochastic_depth * index / count for index in range(count))
    return nnx.List(
        nnx.List(_InvertedResidual(plan, architecture, next(rates), make) for plan in plans)
        for plans in architecture.stages
    )


def _last_conv(architecture: MobileNetArchitecture, make: Layers) -> ConvNorm:
    last = architecture.stages[-1][-1].features
    return make.conv_norm(last, architecture.head_features, 1, activation=architecture.activation)


class MobileNet(Network):
    """A network of inverted residuals: MobileNetV2 and V3, EfficientNet and EfficientNet-Lite.

    ``MobileNetV2`` to ``EfficientNetLite4`` are this class with ``architecture`` filled in. Each
    convolution with its batch norm is one child: timm's ``blocks.1.0.conv_dw.weight`` and
    ``bn2.bias`` are ``stages[1][0].depthwise.conv.kernel`` and ``.bn.bias``. The arithmetic is that
    of torchvision and timm, or, with the architecture's ``convention``, TensorFlow's and Keras'.

    The arguments are those of :class:`Network`.

    Example:
        >>> model = MobileNetV3Small(num_classes=10, rngs=nnx.Rngs(0))
        >>> model.eval()
        >>> x = jax.numpy.ones((8, 64, 64, 3))
        >>> model(x).shape
        (8, 10)
        >>> [y.shape[1:] for y in model.features(x)]
        [(32, 32, 16), (16, 16, 16), (8, 8, 24), (4, 4, 48), (2, 2, 576)]
    """

    def make_body(
        self, architecture: MobileNetArchitecture, in_channels: int, make: Layers
    ) -> None:
        """The stem and the stages; and the last convolution, where it gives a feature map."""
        self.head_is_feature = architecture.hidden_features > 0
        activation = architecture.activation
        self.stem = make.conv_norm(
            in_channels, architecture.stem_features, 3, 2, activation=activation
        )
        self.stages = _stages(architecture, make)
        if self.head_is_feature:
            self.head = _last_conv(architecture, make)

    def make_head(
        self, architecture: MobileNetArchitecture, num_classes: int, make: Layers
    ) -> None:
        """The last convolution, where it gives no feature map, and the classifier."""
        if not self.head_is_feature:
            self.head = _last_conv(architecture, make)
        self.classifier = _Classifier(architecture, num_classes, make)

    def classify(self, x: Array) -> Array:
        """Of the means after the last convolution."""
        x = x if self.head_is_feature else self.head(x)
        return self.classifier(x.mean((-3, -2)))

    def features(self, x: Array) -> list[Array]:
        """Maps ``(B, H, W, C)``, or one ``(H, W, C)``, to the last map of each resolution.

        They are timm's: after the stem or a stage, before the next stride.
        """
        maps = []
        x = self.stem(x)
        for stage in self.stages:
            if stage[0].strides > 1:
                maps.append(x)
            for block in stage:
                x = block(x)
        return [*maps, self.head(x) if self.head_is_feature else x]


MobileNetV2 = functools.partial(MobileNet, MOBILENETS["MobileNetV2"])
MobileNetV3Large = functools.partial(MobileNet, MOBILENETS["MobileNetV3Large"])
MobileNetV3Small = functools.partial(MobileNet, MOBILENETS["MobileNetV3Small"])
EfficientNetB0 = functools.partial(MobileNet, MOBILENETS["EfficientNetB0"])
EfficientNetB1 = functools.partial(MobileNet, MOBILENETS["EfficientNetB1"])
EfficientNetB2 = functools.partial(MobileNet, MOBILENETS["EfficientNetB2"])
EfficientNetB3 = functools.partial(MobileNet, MOBILENETS["EfficientNetB3"])
EfficientNetB4 = functools.partial(MobileNet, MOBILENETS["EfficientNetB4"])
EfficientNetLite0 = functools.partial(MobileNet, MOBILENETS["EfficientNetLite0"])
EfficientNetLite1 = functools.partial(MobileNet, MOBILENETS["EfficientNetLite1"])
EfficientNetLite2 = functools.partial(MobileNet, MOBILENETS["EfficientNetLite2"])
EfficientNetLite3 = functools.partial(MobileNet, MOBILENETS["EfficientNetLite3"])
EfficientNetLite4 = functools.partial(MobileNet, MOBILENETS["EfficientNetLite4"])
