"""Networks of inverted residuals as plain data: MobileNetV2, MobileNetV3, EfficientNet and -Lite.

MobileNetV2 is Sandler et al. 2018, MobileNetV3 Howard et al. 2019, EfficientNet Tan & Le 2019. The
tables below are theirs, the rest is torchvision's and, for EfficientNet-Lite, timm's.
"""

import dataclasses
import functools
import itertools
import math
from collections.abc import Iterable, Mapping
from typing import Literal

from resfuse.models.convention import TORCH, Activation, Convention
from resfuse.models.preprocessing import IMAGENET, Preprocessing

__all__ = ["MOBILENETS", "InvertedResidualPlan", "MobileNetArchitecture"]


@dataclasses.dataclass(frozen=True)
class InvertedResidualPlan:
    """A block: 1x1 to ``expanded`` channels, a depthwise convolution, 1x1 to ``features``.

    Attributes:
        in_features: Channels of the input.
        expanded: Channels of the depthwise convolution; where as many come in, none expands.
        features: Channels of the output.
        size: Of the depthwise window.
        strides: Of the depthwise convolution.
        squeezed: Channels inside squeeze and excitation after it; 0 for none.
        activation: After the first two convolutions.
    """

    in_features: int
    expanded: int
    features: int
    size: int
    strides: int
    squeezed: int
    activation: Activation

    @property
    def skips(self) -> bool:
        """Whether the input is added to the output."""
        return self.strides == 1 and self.in_features == self.features


@dataclasses.dataclass(frozen=True)
class MobileNetArchitecture:
    """What tells one network of inverted residuals from another.

    Attributes:
        stages: The blocks. Only the first of a stage can have a stride.
        head_features: Channels of the last convolution.
        activation: In the stem and the head.
        hidden_features: Of a dense layer between pooling and classifier, as in MobileNetV3, where
            the last convolution counts as a feature map; 0 for none.
        excite_activation: Inside squeeze and excitation.
        excite_gate: At its end.
        uniform_init: Whether the classifier starts uniform within ``num_classes**-0.5``, as in
            EfficientNet, or normal with a deviation of 0.01.
        dropout: Before the classifier, in training.
        stochastic_depth: Of the last block, in training; it grows from 0 in proportion.
        convention: How convolutions pad and batch norms count.
        preprocessing: That of the published weights.

    Example:
        >>> import dataclasses
        >>> from resfuse.models.convention import TENSORFLOW
        >>> ported = dataclasses.replace(MOBILENETS["EfficientNetB0"], convention=TENSORFLOW)
        >>> ported.stem_features
        32
    """

    stages: tuple[tuple[InvertedResidualPlan, ...], ...]
    head_features: int
    activation: Activation
    hidden_features: int = 0
    excite_activation: Activation = "relu"
    excite_gate: Literal["sigmoid", "hard_sigmoid"] = "sigmoid"
    uniform_init: bool = False
    dropout: float = 0.2
    stochastic_depth: float = 0.0
    convention: Convention = TORCH
    preprocessing: Preprocessing = IMAGENET

    @property
    def stem_features(self) -> int:
        """Channels after the first convolution."""
        return self.stages[0][0].in_features


def _divisible(channels: float) -> int:
    """The nearest multiple of 8 that is not below by more than a tenth."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def _stage(
    in_features: int,
    features: int,
    repeats: int,
    strides: int,
    *,
    expansion: int = 6,
    size: int = 3,
    squeezes: bool = False,
    activation: Activation = "relu6",
) -> tuple[InvertedResidualPlan, ...]:
    """Equal blocks but for the first; those of squeeze and excitation have a quarter inside."""
    settings = itertools.chain([(in_features, strides)], itertools.repeat((features, 1)))
    return tuple(
        InvertedResidualPlan(
            width, width * expansion, features, size, stride, width // 4 * squeezes, activation
        )
        for width, stride in itertools.islice(settings, repeats)
    )


# Table 2 of MobileNetV2: expansion, channels, blocks and stride of each stage.
_V2 = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def _mobilenet_v2() -> MobileNetArchitecture:
    in_features, stages = 32, []
    for expansion, features, repeats, strides in _V2:
        stages.append(_stage(in_features, features, repeats, strides, expansion=expansion))
        in_features = features
    return MobileNetArchitecture(
        tuple(stages), 1280, "relu6", preprocessing=Preprocessing(224, 232)
    )


_Row = tuple[int, int, int, bool, Activation, int]

# Tables 1 and 2 of MobileNetV3: window, expanded channels, channels, squeeze and excitation,
# activation, stride.
_V3_LARGE: tuple[tuple[_Row, ...], ...] = (
    ((3, 16, 16, False, "relu", 1),),
    ((3, 64, 24, False, "relu", 2), (3, 72, 24, False, "relu", 1)),
    ((5, 72, 40, True, "relu", 2), *((5, 120, 40, True, "relu", 1),) * 2),
    (
        (3, 240, 80, False, "hard_swish", 2),
        (3, 200, 80, False, "hard_swish", 1),
        *((3, 184, 80, False, "hard_swish", 1),) * 2,
    ),
    ((3, 480, 112, True, "hard_swish", 1), (3, 672, 112, True, "hard_swish", 1)),
    ((5, 672, 160, True, "hard_swish", 2), *((5, 960, 160, True, "hard_swish", 1),) * 2),
)
_V3_SMALL: tuple[tuple[_Row, ...], ...] = (
    ((3, 16, 16, True, "relu", 2),),
    ((3, 72, 24, False, "relu", 2), (3, 88, 24, False, "relu", 1)),
    ((5, 96, 40, True, "hard_swish", 2), *((5, 240, 40, True, "hard_swish", 1),) * 2),
    ((5, 120, 48, True, "hard_swish", 1), (5, 144, 48, True, "hard_swish", 1)),
    ((5, 288, 96, True, "hard_swish", 2), *((5, 576, 96, True, "hard_swish", 1),) * 2),
)


def _mobilenet_v3(
    table: Iterable[tuple[_Row, ...]], hidden: int, resize: int
) -> MobileNetArchitecture:
    in_features, stages = 16, []
    for rows in table:
        blocks = []
        for size, expanded, features, squeezes, activation, strides in rows:
            squeezed = _divisible(expanded // 4) if squeezes else 0
            blocks.append(
                InvertedResidualPlan(
                    in_features, expanded, features, size, strides, squeezed, activation
                )
            )
            in_features = features
        stages.append(tuple(blocks))
    return MobileNetArchitecture(
        tuple(stages),
        6 * in_features,
        "hard_swish",
        hidden,
        excite_gate="hard_sigmoid",
        convention=Convention(epsilon=1e-3, momentum=0.99),
        preprocessing=Preprocessing(224, resize),
    )


# Table 1 of EfficientNet: expansion, window, channels, blocks and stride of each stage.
_EFFICIENTNET = (
    (1, 3, 16, 1, 1),
    (6, 3, 24, 2, 2),
    (6, 5, 40, 2, 2),
    (6, 3, 80, 3, 2),
    (6, 5, 112, 3, 1),
    (6, 5, 192, 4, 2),
    (6, 3, 320, 1, 1),
)


def _efficientnet(
    width: float, depth: float, dropout: float, preprocessing: Preprocessing, lite: bool = False
) -> MobileNetArchitecture:
    """The baseline, wider and deeper. Lite has no squeeze and excitation, and the same two ends."""
    activation: Activation = "relu6" if lite else "silu"
    in_features, stages = 32 if lite else _divisible(32 * width), []
    for number, (expansion, size, channels, repeats, strides) in enumerate(_EFFICIENTNET, 1):
        fixed = lite and number in (1, len(_EFFICIENTNET))
        repeats = repeats if fixed else math.ceil(repeats * depth)
        features = _divisible(channels * width)
        make = functools.partial(_stage, expansion=expansion, size=size, activation=activation)
        stages.append(make(in_features, features, repeats, strides, squeezes=not lite))
        in_features = features
    return MobileNetArchitecture(
        tuple(stages),
        1280 if lite else 4 * in_features,
        activation,
        excite_activation="silu",
        uniform_init=True,
        dropout=dropout,
        stochastic_depth=0.2,
        preprocessing=preprocessing,
    )


def _bicubic(size: int, resize: int) -> Preprocessing:
    return Preprocessing(size, resize, interpolation="bicubic")


MOBILENETS: Mapping[str, MobileNetArchitecture] = {
    "MobileNetV2": _mobilenet_v2(),
    "MobileNetV3Large": _mobilenet_v3(_V3_LARGE, 1280, 232),
    "MobileNetV3Small": _mobilenet_v3(_V3_SMALL, 1024, 256),
    "EfficientNetB0": _efficientnet(1.0, 1.0, 0.2, _bicubic(224, 256)),
    "EfficientNetB1": _efficientnet(1.0, 1.1, 0.2, Preprocessing(240, 255)),
    "EfficientNetB2": _efficientnet(1.1, 1.2, 0.3, _bicubic(288, 288)),
    "EfficientNetB3": _efficientnet(1.2, 1.4, 0.3, _bicubic(300, 320)),
    "EfficientNetB4": _efficientnet(1.4, 1.8, 0.4, _bicubic(380, 384)),
    "EfficientNetLite0": _efficientnet(1.0, 1.0, 0.2, _bicubic(224, 256), lite=True),
    "EfficientNetLite1": _efficientnet(1.0, 1.1, 0.2, _bicubic(240, 272), lite=True),
    "EfficientNetLite2": _efficientnet(1.1, 1.2, 0.3, _bicubic(260, 292), lite=True),
    "EfficientNetLite3": _efficientnet(1.2, 1.4, 0.3, _bicubic(300, 331), lite=True),
    "EfficientNetLite4": _efficientnet(1.4, 1.8, 0.3, _bicubic(380, 412), lite=True),
}
