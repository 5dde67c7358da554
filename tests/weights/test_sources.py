"""Where weights are, in a file or on the Hub, and what their names and configs tell of them."""

import json
import pathlib
import types

import numpy as np
import pytest
from flax import nnx

import agreement
import network_case
import resfuse
from resfuse import nnx as networks
from resfuse.models.architectures import Architecture
from resfuse.models.convention import TENSORFLOW, TORCH
from resfuse.models.preprocessing import Preprocessing
from resfuse.nnx import load
from resfuse.weights.errors import WeightsError
from resfuse.weights.loading import read_weights
from resfuse.weights.safetensors import read_safetensors, write_safetensors

# Of other families one array, which tells the scheme, is enough: architectures are given.
NAMED = {"MobileNet": "MobileNetV3Small", "ConvNeXt": "ConvNeXtTiny", "ResNet": "ResNet18"}
KEYS = {"MobileNet": "conv_stem.weight", "ConvNeXt": "stages.0.blocks.0.conv_dw.weight"}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A file of each family, as bytes."""
    folder = tmp_path_factory.mktemp("saved")
    architecture = Architecture("basic", (1,), features=8)
    resfuse.save(network_case.filled(networks.ResNet, architecture, 3), folder / "ResNet")
    for family, key in KEYS.items():
        write_safetensors({key: np.zeros(1, np.float32)}, folder / family)
    return {family: (folder / family).read_bytes() for family in NAMED}


@pytest.fixture
def put(saved, tmp_path):
    """Writes the file of a family under a name, and configs beside it."""

    def write(family="ResNet", name="model.safetensors", **configs):
        for file, content in configs.items():
            text = content if isinstance(content, str) else json.dumps(content)
            (tmp_path / f"{file}.json").write_text(text)
        (tmp_path / name).write_bytes(saved[family])
        return tmp_path / name

    return write


@pytest.mark.parametrize("where", ["file", "config"])
@pytest.mark.parametrize(
    ("family", "name", "field", "value"),
    [
        ("MobileNet", "mobilenetv3_small_100_lamb-266a294c", "convention", TORCH),
        ("MobileNet", "tf_mobilenetv3_small_100-37f49e2b", "convention", TENSORFLOW),
        ("ConvNeXt", "convnext_tiny_1k_224_ema", "epsilon", 1e-6),
        ("ConvNeXt", "convnext_xxlarge.clip_laion2b_soup", "epsilon", 1e-5),
        ("ConvNeXt", "convnext_xxlarge.clip_laion2b_soup", "last_epsilon", 1e-5),
        ("ResNet", "tf_resnet", "convention", TORCH),  # of no library
    ],
)
def test_a_name_tells_what_no_array_tells(put, where, family, name, field, value):
    if where == "file":
        file = put(family, f"{name}.safetensors")
    else:
        file = put(family, config={"architecture": name})
    assert getattr(read_weights(file, NAMED[family]).architecture, field) == value


@pytest.mark.parametrize(
    ("family", "config", "why"),
    [
        ("ResNet", {"architecture": "resnetaa50"}, "resnetaa50"),
        ("ResNet", {"architecture": "seresnextaa101d_32x8d"}, "seresnextaa101d_32x8d"),
        ("ResNet", {"architecture": "resnetblur50"}, "resnetblur50"),
        ("ConvNeXt", {"architecture": "test_convnext"}, "test_convnext"),
        ("ResNet", {"model_args": {"act_layer": "silu"}}, "act_layer='silu'"),
        ("ResNet", {"model_type": "resnet", "downsample_in_bottleneck": True}, "downsample_in"),
        ("ConvNeXt", {"model_type": "convnext", "hidden_act": "relu"}, "hidden_act='relu'"),
        ("ConvNeXt", {"model_type": "convnext", "layer_norm_eps": 1e-5}, "layer_norm_eps=1e-05"),
        ("ResNet", {"architecture": "resnet50", "model_args": {"num_classes": 3}}, None),
        ("ResNet", {"model_type": "resnet", "hidden_act": "relu"}, None),
    ],
)
def test_another_network_with_the_same_arrays_is_refused(put, family, config, why):
    file = put(family, config=config)
    if why:
        with pytest.raises(WeightsError, match=f"another than its arrays tell, by {why}.*archit"):
            read_weights(file)
    else:
        read_weights(file)
    assert read_weights(file, NAMED[family]).family == family


def test_the_name_of_a_file_refuses_too(put):
    with pytest.raises(WeightsError, match="by resnetblur50-84f4748f"):
        read_weights(put(name="resnetblur50-84f4748f.pth"))


def test_timms_config_beside_the_file(put):
    config = {"input_size": [3, 64, 64], "crop_pct": 0.5, "std": [0.25] * 3}
    found = load(put(config={"pretrained_cfg": config})).preprocess
    assert (found.size, found.resize, found.deviation) == (64, 128, (0.25,) * 3)
    for broken in (None, {}, {"input_size": "x"}, {"input_size": [3, 64, 64], "crop_pct": 0}):
        with pytest.raises(WeightsError, match="describes no preprocessing"):
            load(put(config={"pretrained_cfg": broken}))


def test_processor_of_transformers_beside_the_file(put):
    processor = {"size": {"shortest_edge": 96}, "crop_pct": 0.75, "image_mean": [0.5] * 3}
    assert load(put(preprocessor_config=processor)).preprocess.resize == 128
    with pytest.raises(WeightsError, match="is not JSON"):
        load(put(preprocessor_config="{"))


CONFIG = {
    "architecture": "resnet26",
    "pretrained_cfg": {"input_size": [3, 192, 192], "crop_pct": 0.9, "mean": [0.5] * 3},
}


@pytest.fixture
def hub(saved, tmp_path, monkeypatch):
    """A cache as ``huggingface_hub`` keeps it, with one repository; and no Hub."""
    library = pytest.importorskip("huggingface_hub", reason="only an extra has it")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    commit, repository = "0123456789" * 4, tmp_path / "models--org--name"
    snapshot = repository / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    for branch in ("main", "other"):
        (repository / "refs" / branch).write_text(commit)
    (snapshot / "model.safetensors").write_bytes(saved["ResNet"])
    (snapshot / "config.json").write_text(json.dumps(CONFIG))

    def silent(*_, **__):
        raise ConnectionError("no route to host")

    monkeypatch.setattr(library, "model_info", silent)
    return monkeypatch.setattr, library


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize("revision", ["", "@other", f"@{'0123456789' * 4}"])
def test_the_cache_does_where_the_hub_is_silent(revision):
    wanted = Preprocessing(192, 213, interpolation="bicubic", mean=(0.5, 0.5, 0.5))
    assert load(f"hf:org/name{revision}").preprocess == wanted


INDEX = "model.safetensors.index.json"


@pytest.fixture
def parts(saved):
    """Writes a file's arrays as two parts, and an index that names some."""

    def write(folder, *named):
        (folder / "model.safetensors").unlink(missing_ok=True)
        arrays = list(read_safetensors(np.frombuffer(saved["ResNet"], np.uint8)).items())
        for name, part in {"a": arrays[::2], "b": arrays[1::2]}.items():
            write_safetensors(dict(part), folder / f"{name}.safetensors")
        (folder / INDEX).write_text(json.dumps({"weight_map": dict(enumerate(named))}))

    return write


@pytest.mark.usefixtures("hub")
def test_weights_in_parts(tmp_path, parts):
    folder = next(tmp_path.glob("*/snapshots/*"))
    whole = load("hf:org/name")
    parts(folder, "a.safetensors", "b.safetensors", "a.safetensors")
    for source in ("hf:org/name", folder, folder / INDEX):
        read = load(source)
        assert read.preprocess == whole.preprocess
        agreement.assert_identical(nnx.state(read), nnx.state(whole))


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ([], "names .* as parts"),
        (["a.safetensors", "c.safetensors"], "of which 1 are there"),
        (["a.safetensors", "../a.safetensors", 3], "of which 1 are there"),
        (["a.safetensors", "again.safetensors"], "in another part, too"),
    ],
)
def test_wrong_parts(tmp_path, parts, named, message):
    parts(tmp_path, *named)
    (tmp_path / "again.safetensors").write_bytes((tmp_path / "a.safetensors").read_bytes())
    with pytest.raises(WeightsError, match=message):
        load(tmp_path)


def test_a_folder_is_that_of_a_repository(put):
    file = put(config=CONFIG)
    assert load(file.parent).preprocess == load(file).preprocess


def test_names_on_the_hub_have_a_prefix(tmp_path):
    with pytest.raises(FileNotFoundError, match='names on the Hub begin with "hf:"'):
        load(tmp_path / "timm/resnet50.a1_in1k")


@pytest.mark.parametrize(
    ("key", "name", "mean"),
    [
        ("_conv_stem.weight", "adv-efficientnet-b0-b64d5a18", 0.5),
        ("_conv_stem.weight", "efficientnet-b0-355c32eb", 0.485),
        ("conv_stem.weight", "tf_efficientnet_b0_ap-f262efe1", 0.5),
        ("conv_stem.weight", "tf_efficientnet_b0.ap_in1k", 0.5),
        ("conv_stem.weight", "tf_efficientnet_lite0-0aa007d2", 0.5),
        ("conv_stem.weight", "tf_mobilenetv3_large_100-427764d5", 0.5),
        ("conv_stem.weight", "tf_efficientnet_b0_ns-c0e6a31c", 0.485),
        ("conv_stem.weight", "mobilenetv3_large_100_ra-f55367f5", 0.485),
    ],
)
def test_what_a_name_tells_of_pictures(tmp_path, key, name, mean):
    write_safetensors({key: np.zeros(1, np.float32)}, tmp_path / f"{name}.pth")
    found = read_weights(tmp_path / f"{name}.pth", "EfficientNetB0").architecture.preprocessing
    assert found.mean[0] == mean


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize("source", ["hf:org/none", "hf:org/name@none"])
def test_neither_hub_nor_cache(source, tmp_path):
    with pytest.raises(WeightsError) as raised:
        load(source)
    for part in (source, str(tmp_path), "no route to host", "model.safetensors"):
        assert part in str(raised.value)


def test_the_hub_is_asked_for_what_it_has(hub, tmp_path, saved):
    replace, library = hub
    files = {"pytorch_model.bin": saved["ResNet"], "config.json": json.dumps(CONFIG).encode()}
    asked = []

    def download(repository, file, *, revision, local_files_only):
        asked.append((repository, file, revision, local_files_only))
        path = pathlib.Path(tmp_path, file)
        path.write_bytes(files[file])
        return str(path)

    siblings = [types.SimpleNamespace(rfilename=name) for name in files]
    replace(library, "model_info", lambda *_, **__: types.SimpleNamespace(siblings=siblings))
    replace(library, "hf_hub_download", download)
    assert load("hf:org/new@v1").preprocess.size == 192
    assert asked == [("org/new", file, "v1", False) for file in files]
    replace(library, "hf_hub_download", lambda *_, **__: 1 / 0)
    with pytest.raises(WeightsError, match=r"hf:org/new: pytorch_model.bin: division by zero"):
        load("hf:org/new")
    siblings.clear()
    with pytest.raises(WeightsError, match="hf:org/new has none of model"):
        load("hf:org/new")
