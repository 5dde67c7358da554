"""From files to networks and back: every value, every difference, other images and classes."""

import dataclasses
import functools
import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import agreement
import network_case
import resfuse
import torch_files
import torch_weights
from resfuse import linen
from resfuse import nnx as networks
from resfuse.models.architectures import Architecture
from resfuse.models.mobilenet import MOBILENETS
from resfuse.models.resnetv2 import ResNetV2Architecture
from resfuse.nnx import load
from resfuse.weights.errors import MismatchError, WeightsError
from resfuse.weights.files import read_arrays
from resfuse.weights.safetensors import write_safetensors
from resfuse.weights.schemes import scheme_of
from resfuse.weights.variables import by_path

TINY = Architecture("bottleneck", (1, 2), 2, 8, 16)


@functools.cache
def places(num_classes, in_channels, library):
    def build():
        return networks.ResNet(
            TINY, num_classes, in_channels=in_channels, rngs=agreement.same_key()
        )

    leaves = by_path(nnx.to_pure_dict(nnx.state(nnx.eval_shape(build))))
    shapes = {path: leaf.shape for path, leaf in leaves.items()}
    return scheme_of(library, "ResNet").places(shapes).values()


def state_dict(num_classes=5, in_channels=3, library="torchvision"):
    """Of a small ResNet, with values that follow from names and shapes."""
    names = places(num_classes, in_channels, library)
    return {place.name: torch_weights.value(place.name, place.shape) for place in names}


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "tiny.safetensors"
    write_safetensors(state_dict(), path)
    return path


def assert_same(found, wanted):
    assert found.keys() == wanted.keys()
    for name, array in wanted.items():
        assert found[name].dtype == array.dtype, name
        assert found[name].tobytes() == array.tobytes(), name


@pytest.mark.parametrize("library", ["torchvision", "timm", "transformers"])
def test_saves_what_was_loaded_bit_for_bit(tmp_path, library):
    arrays, path = state_dict(library=library), tmp_path / "in"
    write_safetensors(arrays, path)
    resfuse.save(load(path), tmp_path / "out", scheme=library)
    assert_same(read_arrays(tmp_path / "out"), arrays)


@pytest.mark.parametrize("write", [torch_files.write_zip, torch_files.write_stream])
def test_saves_half_precision_bit_for_bit(tmp_path, write):
    arrays = {name: array.astype(np.float16) for name, array in state_dict().items()}
    model = load(write(tmp_path / "in.pth", arrays))
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(nnx.state(model)))
    resfuse.save(model, tmp_path / "out", dtype=np.float16)
    assert_same(read_arrays(tmp_path / "out"), arrays)


def test_the_package_loads_as_nnx_does():
    assert resfuse.load is networks.load
    with pytest.raises(AttributeError, match="module 'resfuse' has no attribute 'lode'"):
        resfuse.lode  # noqa: B018


def test_linen_and_nnx_give_the_same_logits(file):
    x = jnp.asarray(torch_weights.image(2, 40, 33, 3))
    model, variables = linen.load(file)
    module = load(file)
    made = nnx.graphdef(module)
    module.eval()
    assert nnx.graphdef(module) == made  # it was in evaluation mode
    ours = resfuse.fuse(lambda x: module(x))(x)
    np.testing.assert_array_equal(
        ours, resfuse.fuse(lambda x: model.apply(variables, x, use_running_average=True))(x)
    )
    path = file.with_name("linen")
    resfuse.save(model, path, variables=variables)
    assert_same(read_arrays(path), state_dict())


def test_linen_has_pre_activation_too(tmp_path):
    architecture = ResNetV2Architecture("bottleneck", (2, 1), (32, 64), 32)
    model = network_case.filled(networks.ResNetV2, architecture, num_classes=5)
    resfuse.save(model, tmp_path / "nnx", scheme="timm")
    module, variables = linen.load(tmp_path / "nnx")
    assert module.num_classes == 5
    resfuse.save(module, tmp_path / "linen", scheme="timm", variables=variables)
    assert_same(read_arrays(tmp_path / "linen"), read_arrays(tmp_path / "nnx"))


def test_the_architecture_is_found_and_said(file, caplog):
    with caplog.at_level(logging.INFO, "resfuse.weights"):
        model = load(file)
    assert "named as in torchvision" in caplog.text
    assert "depths=(1, 2)" in caplog.text
    assert model.layer2[0].conv2.feature_group_count == 2


def test_cifar_stem(tmp_path):
    arrays = state_dict()
    arrays["conv1.weight"] = arrays["conv1.weight"][..., 2:5, 2:5]
    write_safetensors(arrays, tmp_path / "cifar")
    model = load(tmp_path / "cifar")
    assert model.cifar_stem
    resfuse.save(model, tmp_path / "out")
    assert_same(read_arrays(tmp_path / "out"), arrays)


def test_all_differences_are_in_one_error(file):
    arrays = state_dict()
    arrays["layer3.0.conv9.weight"] = arrays.pop("layer1.0.bn1.bias")
    arrays["bn1.bias"] = arrays["bn1.bias"][:-1]
    write_safetensors(arrays, file)
    with pytest.raises(MismatchError) as raised:
        load(file, architecture=TINY)
    error = raised.value
    assert error.missing == ["layer1.0.bn1.bias"]
    assert error.unexpected == ["layer3.0.conv9.weight"]
    assert error.shapes == [("bn1.bias", (15,), (16,))]
    for part in ("missing (1): layer1.0.bn1.bias", "(15,) in the file, (16,) here"):
        assert part in str(error)


def test_architecture_overrides(file):
    with pytest.raises(MismatchError, match="does not fit ResNet18, named as in torchvision"):
        load(file, architecture="ResNet18")
    with pytest.raises(WeightsError, match="architecture must be a ResNet's, got 'VGG11', a VGG"):
        load(file, architecture="VGG11")


@pytest.mark.parametrize("with_head", [True, False])
def test_other_classes_need_a_new_head(file, caplog, with_head):
    arrays = state_dict()
    if not with_head:
        arrays = {name: array for name, array in arrays.items() if not name.startswith("fc.")}
        write_safetensors(arrays, file)
        with pytest.raises(MismatchError, match=r"missing \(2\): fc\.bias; fc\.weight"):
            load(file)
    model = load(file, num_classes=7, seed=3)
    assert "a new head of 7 classes" in caplog.text
    kernel = model.fc.kernel[...]
    assert kernel.shape == (128, 7)
    assert 0.5 * 128**-0.5 < np.abs(kernel).max() <= 128**-0.5
    np.testing.assert_array_equal(kernel, load(file, num_classes=7, seed=3).fc.kernel[...])
    np.testing.assert_array_equal(model.bn1.bias[...], arrays["bn1.bias"])


def test_the_files_own_classes_and_channels_are_kept(file, caplog):
    write_safetensors(state_dict(7, 4), file)
    model = load(file, num_classes=7, in_channels=4)
    assert (model.conv1.in_features, model.fc.out_features) == (4, 7)
    assert not caplog.records
    with pytest.raises(WeightsError, match="in_channels must be the file's, which are 4, not 3"):
        load(file, in_channels=3)


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 7])
def test_stem_of_other_images_gives_the_same_for_equal_channels(file, channels):
    kernel = state_dict()["conv1.weight"]
    model = load(file, in_channels=channels)
    ours = np.asarray(model.conv1.kernel[...], np.float64).sum(2)
    theirs = kernel.astype(np.float64).sum(1).transpose(1, 2, 0)
    if channels % 3 == 0 or channels == 1:
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=4 * np.finfo(np.float32).eps)
    repeated = kernel[:, [index % 3 for index in range(channels)]] * np.float32(3 / channels)
    if channels > 1:
        np.testing.assert_array_equal(model.conv1.kernel[...].transpose(3, 2, 0, 1), repeated)


def test_dropout_of_a_loaded_network_draws(tmp_path):
    large = MOBILENETS["MobileNetV3Small"]
    small = dataclasses.replace(large, stages=large.stages[:1], hidden_features=64)
    made = network_case.filled(networks.MobileNet, small, 3)
    resfuse.save(made, tmp_path / "small", scheme="timm")
    model = load(tmp_path / "small", architecture=small, seed=1)
    x, head = jnp.ones((1, large.head_features)), model.classifier
    np.testing.assert_array_equal(head(x), head(x))
    model.train()
    assert (np.asarray(head(x)) != np.asarray(head(x))).any()


def test_save_names_what_it_cannot_write(file, tmp_path):
    with pytest.raises(TypeError, match=r"model must be one of ResNet, .*, got Linear"):
        resfuse.save(nnx.Linear(2, 2, rngs=nnx.Rngs(0)), tmp_path / "out")
    with pytest.raises(TypeError, match="a Linen module needs variables="):
        resfuse.save(linen.ResNet18(), tmp_path / "out")
    with pytest.raises(WeightsError, match="scheme must be one of timm, torchvision, transformers"):
        resfuse.save(load(file), tmp_path / "out", scheme="keras")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("load_in", [networks.load, linen.load], ids=["nnx", "linen"])
@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"num_classes": 0}, "num_classes must be at least 1, got 0"),
        ({"num_classes": True}, "num_classes must be an integer, got True"),
        ({"num_classes": "10"}, "num_classes must be an integer, got '10'"),
        ({"in_channels": -1}, "in_channels must be at least 1, got -1"),
        ({"in_channels": 2.5}, "in_channels must be an integer, got 2.5"),
        ({"seed": "a"}, "seed must be an integer, got 'a'"),
        ({"seed": -1}, r"seed must be from 0 to 2\*\*32 - 1, got -1"),
        ({"architecture": 3}, "architecture must be one, or its name, got 3"),
        ({"source": 5}, "source must be a path or .*, got 5"),
        ({"source": ""}, 'source must be a path or .*, got ""'),
        ({"source": "."}, "no checkpoint of Orbax"),
        ({"source": "hf:a/b/c"}, "hf:a/b/c cannot be a repository"),
        ({"source": "hf:"}, "hf: cannot be a repository"),
    ],
)
def test_wrong_arguments_are_named(file, monkeypatch, load_in, options, error):
    monkeypatch.chdir(file.parent)
    with pytest.raises((ValueError, TypeError), match=error):
        load_in(**{"source": file} | options)
