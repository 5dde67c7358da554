"""VGG with batch norm against torchvision and timm, and the pooling that it takes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import agreement
import network_case
from resfuse import nnx as networks
from resfuse.models.pooling import adaptive_average, halve
from resfuse.models.vgg import VGGS, VGGArchitecture

PARAMETERS = {  # torchvision's
    "VGG11": 132_868_840,
    "VGG13": 133_053_736,
    "VGG16": 138_365_992,
    "VGG19": 143_678_248,
}
CHANNELS = [64, 128, 256, 512, 512, 512]  # of timm's feature maps
# What torchvision 0.29.1 gives, in float64, with the weights of ``torch_weights`` and one image of
# 37x30: ``make_layers([8, "M", 16, 16, "M"], True)``, and dense layers of these sizes.
TINY = VGGArchitecture((1, 2), (8, 16), hidden_features=12)
LOGITS = [-0.15320723, -0.27821779, 0.64621223, -1.3667584, 0.63169002]


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_and_feature_maps(name):
    model = network_case.abstract(networks.VGG, VGGS[name])
    network_case.assert_parameters_and_channels(model, PARAMETERS[name], CHANNELS, first=1)


def test_agrees_with_torchvision():
    model = network_case.abstract(networks.VGG, TINY, 5)
    network_case.assert_torch_logits(model, "torchvision", LOGITS)


@pytest.mark.parametrize("shape", [(2, 7, 7, 3), (2, 1, 20, 3), (9, 14, 3)])
def test_adaptive_average(shape):
    """Each part's mean, from the bounds in torch's documentation."""
    x = agreement.images(*shape)
    height, width = shape[-3:-1]
    expected = np.empty((*shape[:-3], 7, 7, 3), np.float64)
    for i, j in np.ndindex(7, 7):
        rows = slice(i * height // 7, int(np.ceil((i + 1) * height / 7)))
        columns = slice(j * width // 7, int(np.ceil((j + 1) * width / 7)))
        part = np.asarray(x, np.float64)[..., rows, columns, :]
        expected[..., i, j, :] = part.mean((-3, -2))
    agreement.assert_near(adaptive_average(x, 7), expected)


@pytest.mark.parametrize("partial", [False, True])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_halves(dtype, partial):
    x = jnp.arange(15, dtype=dtype).reshape(1, 3, 5, 1)
    expected = [[3, 5, 6.5], [10.5, 12.5, 14]] if partial else [[3, 5]]
    y = jax.jit(lambda x: halve(x, partial=partial))(x)
    np.testing.assert_array_equal(y, jnp.asarray(expected, dtype)[None, ..., None])
