"""Files of Keras: the arrays of every format, and logits of its own networks against theirs."""

import functools
import json
import warnings
import zipfile

import h5py
import jax
import numpy as np
import pytest

import agreement
from damaged_files import assert_arrays_or_an_error
from keras_weights import keras
from resfuse import linen
from resfuse.models.preprocessing import IMAGENET, Preprocessing
from resfuse.nnx import load
from resfuse.weights.errors import WeightsError
from resfuse.weights.files import read_arrays
from resfuse.weights.keras_schemes import KERAS_SCHEMES

CLASSES = 5
NETWORKS = {  # by their inputs, as multiples of ours: those that begin with a normalization differ
    "ConvNeXtTiny": {"include_preprocessing": False},
    "DenseNet121": {},
    "EfficientNetB0": {},
    "MobileNetV2": {},
    "MobileNetV3Large": {"include_preprocessing": False},
    "MobileNetV3Small": {"include_preprocessing": False},
    "ResNet50": {},
    "ResNet101": {},
    "ResNet50V2": {},
    "ResNet101V2": {},
}


def randomized(model):
    """With values that all count."""
    random = np.random.default_rng(0)
    for weight in model.weights:
        if weight.path.startswith("normalization/"):
            continue
        shape = weight.shape
        scale = np.prod(shape[:-1]) ** -0.5
        vector = random.uniform(0.5, 1.5, shape)
        weight.assign(vector if len(shape) == 1 else random.normal(0, scale, shape))
    return model


def save(model, path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the older format is old
        (model.save_weights if path.name.endswith(".weights.h5") else model.save)(path)
    return path


@pytest.mark.long
@pytest.mark.parametrize(("name", "options"), NETWORKS.items(), ids=NETWORKS)
def test_logits_are_those_of_keras(tmp_path, name, options):
    x = agreement.images(1, 45, 40, 3)
    with jax.numpy_dtype_promotion("standard"):
        theirs = getattr(keras.applications, name)(
            weights=None,
            classes=CLASSES,
            input_shape=x.shape[1:],
            classifier_activation=None,
            **options,
        )
        path = save(randomized(theirs), tmp_path / "model.keras")
        scale = 255 if name.startswith("EfficientNet") else 1
        expected = np.asarray(theirs(scale * x, training=False))
    agreement.assert_near(jax.jit(load(path))(x), expected)
    if name in ("ResNet50", "ResNet50V2"):
        module, variables = linen.load(path)
        run = functools.partial(module.apply, use_running_average=True)
        agreement.assert_near(jax.jit(run)(variables, x), expected)


@pytest.fixture(scope="module")
def model():
    """One layer of each kind, and layers within a layer."""
    layers = keras.layers
    inner = [layers.Conv2D(4, 3, use_bias=False, name="second"), layers.LayerNormalization()]
    with jax.numpy_dtype_promotion("standard"):
        return randomized(
            keras.Sequential(
                [
                    keras.Input((9, 9, 3)),
                    layers.Conv2D(4, 3, name="first"),
                    layers.BatchNormalization(name="first_bn"),
                    layers.Dropout(0.1),
                    layers.DepthwiseConv2D(3, name="depthwise"),
                    keras.Sequential(inner, name="inner"),
                    layers.BatchNormalization(name="second_bn"),
                    layers.Dense(2, name="dense"),
                ]
            )
        )


def arrays_of(model, found=None):
    """Those of its layers, by layer and variable."""
    found = {} if found is None else found
    for layer in model.layers:
        if hasattr(layer, "layers"):
            arrays_of(layer, found)
        else:
            found |= {f"{layer.name}.{each.name}": np.asarray(each) for each in layer.weights}
    return found


def without_names(path):
    """As the first versions of Keras 3 wrote it: groups are numbered, and only the zip says why."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    weights = path.with_name("weights.h5")
    weights.write_bytes(parts["model.weights.h5"])
    with h5py.File(weights, "a") as file:
        file.visititems(lambda _, item: item.attrs.pop("name", None))
    older = path.with_name("older.keras")
    with zipfile.ZipFile(older, "w") as archive:
        for name, data in (parts | {"model.weights.h5": weights.read_bytes()}).items():
            archive.writestr(name, data)
    return older


@pytest.mark.parametrize("name", ["model.keras", "model.weights.h5", "model.h5", "older.keras"])
def test_every_format_holds_the_arrays(tmp_path, model, name):
    path = save(model, tmp_path / name.replace("older", "model"))
    found = read_arrays(without_names(path) if name == "older.keras" else path)
    expected = arrays_of(model)
    assert found.keys() == expected.keys()
    for key, array in expected.items():
        np.testing.assert_array_equal(found[key], array)


def test_numbers_without_names_are_an_error(tmp_path, model):
    path = without_names(save(model, tmp_path / "model.keras"))
    with pytest.raises(
        WeightsError, match=r"is of no layer with a name: save the model as \.keras"
    ):
        read_arrays(path.with_name("weights.h5"))


@pytest.mark.parametrize(
    ("arrays", "deviation"),
    [
        ({}, IMAGENET.deviation),
        ({"normalization.mean": (0,) * 3, "normalization.variance": (1,) * 3}, (1,) * 3),
        ({"normalization.variance": (0.229, 0.224, 0.225)}, IMAGENET.deviation),
        ({"normalization.variance": (0.25, 0.04, 0)}, (0.5, 0.2, 1)),
    ],
)
def test_preprocessing_of_an_efficientnet_is_its_first_layer(arrays, deviation):
    scheme = next(each for each in KERAS_SCHEMES if each.ignored)
    arrays = {name: np.asarray(value, np.float32) for name, value in arrays.items()}
    found = scheme.preprocessing("EfficientNetB1", arrays)
    assert (found.size, found.interpolation) == (240, "nearest")
    np.testing.assert_allclose(found.deviation, deviation, rtol=1e-6)
    expected = arrays.get("normalization.mean", IMAGENET.mean)
    np.testing.assert_array_equal(found.mean, expected)


def test_preprocessing_of_a_resnet_is_caffes():
    assert KERAS_SCHEMES[-1].preprocessing("ResNet50", {}) == Preprocessing.keras("caffe")


def h5(write):
    def make(folder):
        with h5py.File(folder / "hostile.h5", "w") as file:
            write(file, folder)
        return folder / "hostile.h5"

    return make


def zipped(**entries):
    def make(folder):
        with zipfile.ZipFile(folder / "hostile.keras", "w") as archive:
            for name, (data, compression) in entries.items():
                archive.writestr(name.replace("__", "."), data, compression)
        return folder / "hostile.keras"

    return make


def linked_to_a_file(file, folder):
    with h5py.File(folder / "secret.h5", "w") as secret:
        secret["layer/kernel"] = np.ones(3)
    file["model_weights"] = h5py.ExternalLink("secret.h5", "/")


def stored_outside(file, folder):
    (folder / "raw").write_bytes(bytes(24))
    raw = [(str(folder / "raw"), 0, 24)]
    file.create_dataset("layer/kernel", (3,), np.float64, external=raw)


def in_a_loop(file, _):
    file["a/kernel"] = np.ones(3, np.float32)
    file["a/b"] = file["a"]
    file["a/soft"] = h5py.SoftLink("/a")


def twice(file, _):
    file["a/layer/kernel"] = file["b/layer/kernel"] = np.ones(3)


def too_many(file, _):
    file["layers/dense/vars/2"] = np.ones(3)
    file["layers/dense/vars"].attrs["name"] = "dense"


STORED, DEFLATED = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED
LAYERS = json.dumps({"config": {"layers": []}})
HOSTILE = {
    "link to a file": (h5(linked_to_a_file), "no arrays by name"),
    "data in a file": (h5(stored_outside), "no array of numbers in this file"),
    "never written": (
        h5(lambda file, _: file.create_dataset("layer/kernel", (2**40,), np.float32, chunks=True)),
        "of 4398046511104 bytes is stored in 0",
    ),
    "compressed": (
        h5(lambda file, _: file.create_dataset("a/kernel", data=np.ones(999), compression="gzip")),
        "which Keras never does",
    ),
    "texts": (h5(lambda file, _: file.create_dataset("a/kernel", data=["text"])), "no array of"),
    "one name": (h5(twice), r"two arrays are called layer\.kernel"),
    "a third variable": (h5(too_many), "one variable more than a dense has"),
    "bomb": (zipped(config__json=(LAYERS, STORED), model__weights__h5=(bytes(10**6), DEFLATED)),
             "model.weights.h5 is compressed"),
    "no config": (zipped(model__weights__h5=(bytes(9), STORED)), "the zip lacks config.json"),
    "config of no layers": (
        zipped(config__json=("[1]", STORED), model__weights__h5=(b"", STORED)),
        "does not describe layers",
    ),
    "deep config": (
        zipped(config__json=("[" * 10**5, STORED), model__weights__h5=(b"", STORED)),
        "does not describe layers",
    ),
    "no HDF5": (
        zipped(config__json=(LAYERS, STORED), model__weights__h5=(bytes(99), STORED)),
        "HDF5 is broken",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("make", "message"), HOSTILE.values(), ids=HOSTILE)
def test_hostile_files_are_refused(tmp_path, make, message):
    with pytest.raises(WeightsError, match=message):
        read_arrays(make(tmp_path))


def test_loops_of_links_end(tmp_path):
    found = read_arrays(h5(in_a_loop)(tmp_path))
    assert found.keys() == {"a.kernel"}


def test_a_broken_file_is_named(tmp_path, model):
    data = save(model, tmp_path / "whole.keras").read_bytes()
    with h5py.File(tmp_path / "whole.h5", "w") as file:
        file["layer/kernel"] = np.ones(300)
    cut = tmp_path / "cut"
    for whole in (data, (tmp_path / "whole.h5").read_bytes()):
        for size in (100, len(whole) // 2, len(whole) - 1):
            cut.write_bytes(whole[:size])
            with pytest.raises(WeightsError, match=r"is broken"):
                read_arrays(cut)


def test_any_changed_byte_gives_arrays_or_an_error(tmp_path, model):
    data = save(model, tmp_path / "whole.weights.h5").read_bytes()
    random = np.random.default_rng(0)
    indices = random.choice(len(data), 60, replace=False)
    assert_arrays_or_an_error(tmp_path / "changed", data, indices, random)
