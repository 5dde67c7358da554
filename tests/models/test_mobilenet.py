"""MobileNetV2 and V3, EfficientNet and EfficientNet-Lite against timm, torchvision and Keras."""

import dataclasses
import functools

import pytest

import agreement
import keras_weights
import network_case
from resfuse import nnx as networks
from resfuse.models.convention import TENSORFLOW
from resfuse.models.mobilenet import MOBILENETS
from sampling import long_but, some

# torchvision's, and for EfficientNet-Lite timm's.
PARAMETERS = {
    "MobileNetV2": 3_504_872,
    "MobileNetV3Large": 5_483_032,
    "MobileNetV3Small": 2_542_856,
    "EfficientNetB0": 5_288_548,
    "EfficientNetB1": 7_794_184,
    "EfficientNetB2": 9_109_994,
    "EfficientNetB3": 12_233_232,
    "EfficientNetB4": 19_341_616,
    "EfficientNetLite0": 4_652_008,
    "EfficientNetLite1": 5_416_680,
    "EfficientNetLite2": 6_092_072,
    "EfficientNetLite3": 8_197_096,
    "EfficientNetLite4": 13_006_568,
}
# timm's ``feature_info.channels()``, at 2, 4, 8, 16 and 32 pixels a pixel.
CHANNELS = {
    "MobileNetV2": [16, 24, 32, 96, 320],
    "MobileNetV3Large": [16, 24, 40, 112, 960],
    "MobileNetV3Small": [16, 16, 24, 48, 576],
    "EfficientNetB0": [16, 24, 40, 112, 320],
    "EfficientNetB1": [16, 24, 40, 112, 320],
    "EfficientNetB2": [16, 24, 48, 120, 352],
    "EfficientNetB3": [24, 32, 48, 136, 384],
    "EfficientNetB4": [24, 32, 56, 160, 448],
    "EfficientNetLite0": [16, 24, 40, 112, 320],
    "EfficientNetLite1": [16, 24, 40, 112, 320],
    "EfficientNetLite2": [16, 24, 48, 120, 352],
    "EfficientNetLite3": [24, 32, 48, 136, 384],
    "EfficientNetLite4": [24, 32, 56, 160, 448],
}
QUICK = ("MobileNetV2", "MobileNetV3Small")


def tiny(name, **changes):
    """The first three stages, and a small head."""
    architecture = MOBILENETS[name]
    changes = {"stages": architecture.stages[:3], "head_features": 64} | changes
    return dataclasses.replace(architecture, **changes)


TINY = {
    "MobileNetV2": tiny("MobileNetV2"),
    "MobileNetV3Small": tiny("MobileNetV3Small", hidden_features=48),
    "EfficientNetB0": tiny("EfficientNetB0"),
    "TensorFlow": tiny("EfficientNetB0", convention=TENSORFLOW),
    "EfficientNetLite0": tiny("EfficientNetLite0"),
}
# What timm 1.0.31 gives, in float64, with the weights of ``torch_weights`` and one image of 37x30:
# ``EfficientNet`` and ``MobileNetV3`` of its first three strings of block definitions,
# ``num_features`` and ``num_classes`` as here, and for TensorFlow ``pad_type="same"`` and an
# epsilon of 1e-3, which MobileNetV3 has, too.
LOGITS = {
    "MobileNetV2": [-0.35508162, 0.14588839, -0.31880189, 0.40585057, 1.24949473],
    "MobileNetV3Small": [0.32229446, 0.45734871, 0.03622943, 0.13273618, 0.22862448],
    "EfficientNetB0": [-0.62370967, 0.17470002, 0.24857527, 0.24575816, -0.32386531],
    "TensorFlow": [-0.62192758, 0.1951263, 0.22490617, 0.27285441, -0.36787271],
    "EfficientNetLite0": [-0.5221989, -0.1973339, -0.08017786, 0.81381922, 0.26609999],
}


@pytest.mark.parametrize(
    "name",
    long_but(QUICK, PARAMETERS),
)
def test_parameters_and_feature_maps(name):
    model = network_case.abstract(networks.MobileNet, MOBILENETS[name])
    network_case.assert_parameters_and_channels(model, PARAMETERS[name], CHANNELS[name])


@pytest.mark.parametrize("name", some(3, TINY))
def test_agrees_with_timm(name):
    model = network_case.abstract(networks.MobileNet, TINY[name], 5)
    network_case.assert_torch_logits(model, "timm", LOGITS[name])


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "scale", "options"),
    [
        ("MobileNetV2", 1, {}),
        ("MobileNetV3Small", 1, {"include_preprocessing": False}),
        ("EfficientNetB0", 255, {}),
    ],
)
def test_agrees_with_keras(name, scale, options):
    ported = dataclasses.replace(MOBILENETS[name], convention=TENSORFLOW)
    make = functools.partial(networks.MobileNet, network_case.steady(ported))
    x = agreement.images(1, 45, 40, 3)
    keras_weights.assert_same_logits(make, name, x, scale=scale, **options)
