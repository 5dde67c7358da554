"""Files of Keras' own networks: logits of what was read against theirs."""

import warnings

import h5py
import jax
import numpy as np
import pytest

import agreement
from keras_weights import keras
from resfuse.nnx import load
from resfuse.weights.errors import WeightsError
from resfuse.weights.files import read_arrays

CLASSES = 5


def randomized(model):
    """With values that all count."""
    random = np.random.default_rng(0)
    for weight in model.weights:
        shape = weight.shape
        scale = np.prod(shape[:-1]) ** -0.5
        vector = random.uniform(0.5, 1.5, shape)
        weight.assign(vector if len(shape) == 1 else random.normal(0, scale, shape))
    return model


@pytest.mark.long
@pytest.mark.parametrize("name", ["MobileNetV2", "DenseNet121"])
def test_logits_are_those_of_keras(tmp_path, name):
    path, x = tmp_path / "keras.h5", agreement.images(1, 45, 40, 3)
    with jax.numpy_dtype_promotion("standard"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the format is old
        theirs = getattr(keras.applications, name)(
            weights=None, classes=CLASSES, input_shape=x.shape[1:], classifier_activation=None
        )
        randomized(theirs).save(path)
        expected = np.asarray(theirs(x, training=False))
    agreement.assert_near(jax.jit(load(path))(x), expected)


def test_a_file_that_leads_elsewhere_is_not_followed(tmp_path):
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["layer/kernel"] = np.ones(3)
    with h5py.File(tmp_path / "linked.h5", "w") as file:
        file["model_weights"] = h5py.ExternalLink("secret.h5", "/")
    with pytest.raises(WeightsError, match="no arrays by name"):
        read_arrays(tmp_path / "linked.h5")
    (tmp_path / "raw").write_bytes(bytes(24))
    with h5py.File(tmp_path / "outside.h5", "w") as file:
        raw = [(str(tmp_path / "raw"), 0, 24)]
        file.create_dataset("layer/kernel", (3,), np.float64, external=raw)
    with pytest.raises(WeightsError, match="no array of numbers in this file"):
        read_arrays(tmp_path / "outside.h5")


def test_a_broken_file_is_named(tmp_path):
    with h5py.File(tmp_path / "whole.h5", "w") as file:
        file["layer/kernel"] = np.ones(300)
    data = (tmp_path / "whole.h5").read_bytes()
    for size in (16, 100, len(data) // 2, len(data) - 1):
        (tmp_path / "cut.h5").write_bytes(data[:size])
        with pytest.raises(WeightsError, match="HDF5 is broken"):
            read_arrays(tmp_path / "cut.h5")
