"""Arrays out of files of safetensors and torch: the values, and only what the file holds."""

import json
import pathlib
import zipfile

import ml_dtypes
import numpy as np
import pytest

import torch_files
from damaged_files import assert_arrays_or_an_error
from resfuse.weights.errors import WeightsError
from resfuse.weights.files import read_arrays
from resfuse.weights.safetensors import write_safetensors

RANDOM = np.random.default_rng(0)
ARRAYS = {
    "conv.weight": RANDOM.normal(size=(4, 3, 2, 2)).astype(np.float32),
    "conv.bias": RANDOM.normal(size=5),
    "half": RANDOM.normal(size=7).astype(np.float16),
    "brain": RANDOM.normal(size=(3, 3)).astype(ml_dtypes.bfloat16),
    "empty": np.zeros((0, 3), np.float32),
    "scalar": np.asarray(2.5, np.float32),
    "bytes": np.arange(3, dtype=np.uint8),
}


def write(path, arrays):
    write_safetensors(arrays, path)
    return path


WRITERS = {"safetensors": write, "zip": torch_files.write_zip, "stream": torch_files.write_stream}


def assert_same(found, arrays):
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape), name
        assert found[name].tobytes() == array.tobytes(), name


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_values_of_every_dtype(tmp_path, write):
    assert_same(read_arrays(write(tmp_path / "weights", ARRAYS)), ARRAYS)


@pytest.mark.parametrize("write", [torch_files.write_zip, torch_files.write_stream])
def test_state_dict_in_a_checkpoint(tmp_path, write):
    def wrap(tensors):
        named = {f"module.{name}": tensor for name, tensor in tensors.items()}
        return torch_files.dictionary(
            {"epoch": torch_files.number(3), "state_dict": torch_files.dictionary(named)}
        )

    counted = ARRAYS | {"bn.num_batches_tracked": np.asarray(7)}
    assert_same(read_arrays(write(tmp_path / "weights", counted, wrap)), ARRAYS)


def test_averaged_weights_come_first(tmp_path):
    def wrap(tensors):
        averaged, plain = (torch_files.dictionary({"w": tensors[key]}) for key in ("ema", "last"))
        return torch_files.dictionary({"state_dict": plain, "model_ema": averaged})

    arrays = {"ema": np.ones(2, np.float32), "last": np.zeros(2, np.float32)}
    found = read_arrays(torch_files.write_zip(tmp_path / "weights", arrays, wrap))
    assert_same(found, {"w": arrays["ema"]})


def test_views_of_one_storage(tmp_path):
    def wrap(_):
        stored = torch_files.storage("0", "FloatStorage", 12)
        return torch_files.dictionary(
            {
                "transposed": torch_files.tensor(stored, (4, 3), (1, 4)),
                "row": torch_files.tensor(stored, (4,), (1,), 4),
                "parameter": torch_files.call(
                    torch_files.name("torch._utils", "_rebuild_parameter"),
                    torch_files.tensor(stored, (2,), (3,), 8),
                    b"\x88",
                    torch_files.call(torch_files.name("collections", "OrderedDict")),
                ),
            }
        )

    base = np.arange(12, dtype=np.float32).reshape(3, 4)
    found = read_arrays(torch_files.write_zip(tmp_path / "weights", {"base": base}, wrap))
    wanted = {"transposed": base.T, "row": base[1], "parameter": base.reshape(-1)[8::3]}
    for name, array in wanted.items():
        np.testing.assert_array_equal(found[name], array)


def test_safetensors_agree_with_the_library(tmp_path):
    library = pytest.importorskip("safetensors.numpy", reason="only the test extra has it")
    floats = {name: array for name, array in ARRAYS.items() if array.dtype != ml_dtypes.bfloat16}
    theirs, ours = tmp_path / "theirs", tmp_path / "ours"
    library.save_file(floats, theirs, metadata={"format": "pt"})
    assert_same(read_arrays(theirs), floats)
    write_safetensors(floats, ours)
    assert_same(library.load_file(ours), floats)


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_any_truncation_is_an_error(tmp_path, write):
    data = write(tmp_path / "whole", ARRAYS).read_bytes()
    cut = tmp_path / "cut"
    for size in range(0, len(data), 13):
        cut.write_bytes(data[:size])
        with pytest.raises(WeightsError):
            read_arrays(cut)


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_any_changed_byte_gives_arrays_or_an_error(tmp_path, write):
    data = write(tmp_path / "whole", {"w": ARRAYS["conv.weight"], "b": ARRAYS["half"]}).read_bytes()
    indices, random = range(0, len(data), 5), np.random.default_rng(0)
    assert_arrays_or_an_error(tmp_path / "changed", data, indices, random)


def zip_with(**options):
    return lambda path: torch_files.write_zip(path, {"w": np.ones(4, np.float32)}, **options)


def stream_with(**options):
    return lambda path: torch_files.write_stream(path, {"w": np.ones(4, np.float32)}, **options)


def of_bytes(data):
    def write(path):
        path.write_bytes(data)
        return path

    return write


def safetensors_with(header, body=bytes(16)):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return of_bytes(len(text).to_bytes(8, "little") + text + body)


def entry(**changes):
    return {"w": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]} | changes}


def tensor_of(shape, strides, offset=0):
    stored = torch_files.storage("0", "FloatStorage", 4)
    return zip_with(wrap=lambda _: torch_files.dictionary(
        {"w": torch_files.tensor(stored, shape, strides, offset)}
    ))  # fmt: skip


BROKEN = {
    "no format": (of_bytes(b"weights"), "no file of safetensors, torch or Keras"),
    "big-endian zip": (zip_with(byteorder=b"big"), "byte order"),
    "big-endian stream": (stream_with(little_endian=False), "big-endian"),
    "no storage": (zip_with(data__0=None), "lacks archive/data/0"),
    "short storage": (zip_with(data__0=bytes(12)), "storage '0' of 4 float32 has 12 bytes"),
    "long storage": (zip_with(data__0=bytes(20)), "storage '0' of 4 float32 has 20 bytes"),
    "compressed": (zip_with(compression=zipfile.ZIP_DEFLATED), "compressed"),
    "no pickle": (zip_with(data_pkl=None), "one data.pkl"),
    "beyond the storage": (tensor_of((4,), (1,), 1), "not within its storage of 4"),
    "strides beyond": (tensor_of((2, 2), (3, 1)), "not within its storage"),
    "negative strides": (tensor_of((4,), (-1,), 3), "strides"),
    "negative sizes": (tensor_of((-4,), (1,)), "shape"),
    "more elements than stored": (tensor_of((2**30, 2**30), (0, 0)), "not within its storage"),
    "other ranks": (tensor_of((2, 2), (1,)), "strides"),
    "long header": (of_bytes((2**40).to_bytes(8, "little") + b"{}"), "header of"),
    "no JSON": (safetensors_with(b"{nothing}"), "not JSON"),
    "deep JSON": (safetensors_with(b'{"a":' * 100_000), "not JSON"),
    "name twice": (safetensors_with(b'{"w":{},"w":{}}'), "twice"),
    "no offsets": (safetensors_with({"w": {}}), "data_offsets of w"),
    "negative offset": (safetensors_with(entry(data_offsets=[-16, 0])), "data_offsets of w"),
    "gap": (safetensors_with(entry(data_offsets=[4, 20]), bytes(20)), "begins at byte 4"),
    "overlap": (safetensors_with(entry() | {"v": entry()["w"]}), "begins at byte 0"),
    "rest": (safetensors_with(entry(), bytes(20)), "the file holds 20"),
    "other size": (safetensors_with(entry(shape=[5])), "has 20 bytes, the file 16"),
    "beyond the file": (safetensors_with(entry(data_offsets=[0, 32], shape=[8])), "has 32 bytes"),
    "size of no list": (safetensors_with(entry(shape=4)), "shape of w"),
    "large sizes": (safetensors_with(entry(shape=[2**62, 2**62])), "bytes"),
    "unknown dtype": (safetensors_with(entry(dtype="F8_E5M2")), "dtype of w"),
    "dtype of no text": (safetensors_with(entry(dtype=[])), "dtype of w"),
    "no arrays": (safetensors_with({"__metadata__": {}}, b""), "no arrays by name"),
}  # fmt: skip


@pytest.mark.parametrize(("write", "message"), BROKEN.values(), ids=BROKEN)
def test_broken_files_are_named(tmp_path, write, message):
    path = write(pathlib.Path(tmp_path, "broken"))
    with pytest.raises(WeightsError, match=message) as error:
        read_arrays(path)
    assert str(path) in str(error.value)
