"""The schemes of Keras' own networks, as a table; and what their pictures go through.

``keras.applications`` lists the networks; their layers' settings are in the file of each.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np

from resfuse.models.convention import TENSORFLOW, Convention
from resfuse.models.preprocessing import IMAGENET, Preprocessing
from resfuse.weights import keras_names
from resfuse.weights.efficientnet_pictures import size_of
from resfuse.weights.scheme import KERAS, Arrays, Scheme

__all__ = ["KERAS_SCHEMES"]

_PYTORCHS_PADDING = Convention(epsilon=1.001e-5, momentum=0.99)
_DENSE_AS_CONV = (1, 1)


def _pictures(mode: Literal["caffe", "tf", "torch"]) -> Callable[[str, Arrays], Preprocessing]:
    """What ``preprocess_input`` of a network's file does, or a layer that begins the network."""
    return lambda name, _: Preprocessing.keras(mode, size_of(name))


def _normalized_pictures(name: str, arrays: Arrays) -> Preprocessing:
    """By the layer that begins an EfficientNet: ``(pixel / 255 - mean) / sqrt(variance)``.

    Published files have deviations where that layer takes variances, and Keras divides by the
    square root once more.
    """
    mean = arrays.get("normalization.mean", np.asarray(IMAGENET.mean))
    variance = arrays.get("normalization.variance", np.asarray(IMAGENET.deviation))
    published = variance.shape == (3,) and np.allclose(variance, IMAGENET.deviation)
    deviation = variance if published else np.sqrt(np.maximum(variance, 0))
    size = size_of(name)
    return Preprocessing(
        size,
        size,
        squash=True,
        interpolation="nearest",
        mean=tuple(float(value) for value in mean.reshape(-1)),
        deviation=tuple(float(value) or 1.0 for value in deviation.reshape(-1)),
    )


def _scheme(
    family: str,
    rename: Any,
    keys: tuple[str, ...],
    settings: Mapping[str, Any],
    pictures: Callable[[str, Arrays], Preprocessing],
    **options: Any,
) -> Scheme:
    return Scheme(
        "keras",
        family,
        rename,
        keys,
        settings=settings,
        preprocessing=pictures,
        layout=KERAS,
        **options,
    )


_ORIGINAL_RESNET = {"convention": _PYTORCHS_PADDING, "use_bias": True, "stride_first": True}
_CONVNEXTS = "tiny", "small", "base", "large", "xlarge"

KERAS_SCHEMES = (
    _scheme(
        "MobileNet",
        keras_names.keras_mobilenet_v2,
        ("block_1_expand.kernel",),
        {"convention": TENSORFLOW},
        _pictures("tf"),
    ),
    _scheme(
        "MobileNet",
        keras_names.keras_mobilenet_v3,
        ("expanded_conv_1_expand.kernel",),
        {"convention": Convention(same_padding=True, epsilon=1e-3, momentum=0.999)},
        _pictures("tf"),
        tails=((r"^classifier\.(hidden|fc)\.kernel", _DENSE_AS_CONV),),
    ),
    _scheme(
        "MobileNet",
        keras_names.keras_efficientnet,
        ("block1a_dwconv.kernel",),
        {"convention": TENSORFLOW},
        _normalized_pictures,
        ignored=r"^normalization(_\d+)?\.",
    ),
    _scheme(
        "DenseNet",
        keras_names.keras_densenet,
        ("pool2_bn.gamma",),
        {"convention": _PYTORCHS_PADDING},
        _pictures("torch"),
    ),
    _scheme(
        "ConvNeXt",
        keras_names.keras_convnext,
        tuple(f"convnext_{size}_stem_conv.kernel" for size in _CONVNEXTS),
        {},
        _pictures("torch"),
        aliases=((r"^convnext_[a-z]+_", ""),),
    ),
    _scheme(
        "ResNetV2",
        keras_names.keras_resnet_v2,
        ("conv2_block1_preact_bn.gamma",),
        {"convention": _PYTORCHS_PADDING, "keras": True},
        _pictures("tf"),
    ),
    _scheme(
        "ResNet",
        keras_names.keras_resnet,
        ("conv2_block1_0_conv.kernel",),
        _ORIGINAL_RESNET,
        _pictures("caffe"),
    ),
)
