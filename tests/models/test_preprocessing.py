"""Pictures become what torchvision's, timm's and Keras' pipelines make of them."""

import math

import numpy as np
import pytest
from PIL import Image

from keras_weights import keras
from resfuse import linen
from resfuse.models.preprocessing import Preprocessing

HALF = (0.5, 0.5, 0.5)
TIMM = {
    "input_size": [3, 24, 24],
    "interpolation": "bicubic",
    "crop_pct": 0.875,
    "mean": HALF,
    "std": HALF,
}
SQUASH = {"input_size": (3, 24, 24), "interpolation": "bilinear", "crop_pct": 0.9}

# Height and width of the picture, then the sum, the first pixel and one of the last row, as
# torchvision 0.29.1 (``ImageClassification``) and timm 1.0.31 (``create_transform``) give them.
EXPECTED = {
    "bilinear": (
        Preprocessing(24, 32),
        (50, 37),
        408.605,
        [0.005565, 0.940476, -0.288104, -0.439678, 0.695378, -0.009237],
    ),
    "bicubic": (
        Preprocessing(24, 27, interpolation="bicubic"),
        (37, 50),
        375.569,
        [-0.62805, 0.80042, 0.077909, 0.039815, 0.27521, 1.437386],
    ),
    "timm": (
        Preprocessing.from_timm({"pretrained_cfg": TIMM}),
        (50, 37),
        -6.353,
        [-0.552941, 0.05098, 0.262745, -0.45098, -0.066667, -0.615686],
    ),
    "timm squashes": (
        Preprocessing.from_timm(SQUASH | {"crop_mode": "squash"}),
        (50, 37),
        380.711,
        [0.793304, 0.922969, -0.218388, -0.045809, 0.310224, 1.367669],
    ),
}


def picture(height, width):
    random = np.random.default_rng(0)
    return Image.fromarray(random.integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize("name", EXPECTED)
def test_gives_what_the_original_gives(name):
    preprocess, size, total, pixels = EXPECTED[name]
    values = preprocess(picture(*size))
    assert (values.shape, values.dtype) == ((24, 24, 3), np.float32)
    np.testing.assert_allclose([*values[0, 0], *values[-1, 3]], pixels, atol=1e-6)
    assert math.isclose(values.sum(dtype=np.float64), total, abs_tol=1e-3)


@pytest.mark.parametrize("mode", ["caffe", "tf", "torch"])
def test_gives_what_keras_gives(tmp_path, mode):
    picture(50, 37).save(tmp_path / "picture.png")
    loaded = keras.utils.load_img(tmp_path / "picture.png", target_size=(24, 24))
    array = keras.utils.img_to_array(loaded)
    expected = keras.applications.imagenet_utils.preprocess_input(array, mode=mode)
    values = Preprocessing.keras(mode, 24)(picture(50, 37))
    np.testing.assert_allclose(values, expected, atol=1e-5 * np.abs(expected).max())


def test_networks_carry_that_of_their_weights():
    assert linen.ResNet50().preprocess == Preprocessing(224, 232)
    bit = linen.ResNetV2_50x1_BiT().preprocess
    assert bit == Preprocessing(224, 256, False, "bicubic", HALF, HALF)


def test_any_picture_becomes_three_channels():
    gray = picture(40, 40).convert("L")
    values = Preprocessing(24, 32)(gray)
    expected = Preprocessing(24, 32)(gray.convert("RGB"))
    np.testing.assert_array_equal(values, expected)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        # Of microsoft/resnet-50 and facebook/convnext-tiny-224.
        ({"size": 224, "crop_pct": 0.875, "resample": 3}, (224, 256, False, "bicubic")),
        ({"size": {"shortest_edge": 384}, "crop_pct": 1.0}, (384, 384, True, "bilinear")),
        # Of google/mobilenet_v2_1.0_224 and google/efficientnet-b0.
        (
            {"size": {"shortest_edge": 256}, "crop_size": {"height": 224, "width": 224}},
            (224, 256, False, "bilinear"),
        ),
        ({"size": {"height": 224, "width": 224}, "resample": 0}, (224, 224, True, "nearest")),
        ({"size": 224}, (224, 224, True, "bilinear")),
        ({"size": 256, "crop_size": 224}, (224, 256, False, "bilinear")),
    ],
)
def test_hugging_face_configurations(config, expected):
    means = {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]}
    preprocess = Preprocessing.from_hugging_face(config | means)
    found = preprocess.size, preprocess.resize, preprocess.squash, preprocess.interpolation
    assert found == expected
    assert (preprocess.mean, preprocess.deviation) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))


def test_wrong_settings():
    with pytest.raises(ValueError, match="at most resize, got 256 and 224"):
        Preprocessing(256, 224)
    with pytest.raises(ValueError, match=r'"center" or "squash", got .border.'):
        Preprocessing.from_timm(TIMM | {"crop_mode": "border"})
