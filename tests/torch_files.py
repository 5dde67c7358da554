"""Writes what ``torch.save`` writes, without torch: pickles whose opcodes are chosen by hand."""

import pickle
import struct
import zipfile

import numpy as np

MAGIC = 0x1950A86A20F9469CFC6C
STORAGES = {
    "float32": "FloatStorage",
    "float64": "DoubleStorage",
    "float16": "HalfStorage",
    "bfloat16": "BFloat16Storage",
    "int64": "LongStorage",
    "uint8": "ByteStorage",
}


def text(value):
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def number(value):
    return b"J" + struct.pack("<i", value)


def numbers(values):
    return b"(" + b"".join(map(number, values)) + b"t"


def name(module, attribute):
    return f"c{module}\n{attribute}\n".encode()


def call(function, *arguments):
    return function + b"(" + b"".join(arguments) + b"tR"


def storage(key, kind, count, *view):
    described = text("storage"), name("torch", kind), text(key), text("cpu"), number(count)
    return b"(" + b"".join((*described, *view)) + b"tQ"


def tensor(stored, shape, strides, offset=0):
    hooks = call(name("collections", "OrderedDict"))
    rebuild = name("torch._utils", "_rebuild_tensor_v2")
    return call(rebuild, stored, number(offset), numbers(shape), numbers(strides), b"\x89", hooks)


def dictionary(items):
    pairs = b"".join(text(key) + value for key, value in items.items())
    return call(name("collections", "OrderedDict")) + b"(" + pairs + b"u"


def program(value):
    return b"\x80\x02" + value + b"."


def strides(array):
    return [stride // array.itemsize for stride in array.strides]


def tensors(arrays, *view):
    """Each array as a tensor of a storage of its own."""
    return {
        key: tensor(
            storage(str(index), STORAGES[array.dtype.name], array.size, *view),
            array.shape,
            strides(array),
        )
        for index, (key, array) in enumerate(arrays.items())
    }


def contiguous(arrays):
    return {key: np.ascontiguousarray(array).reshape(array.shape) for key, array in arrays.items()}


def write_zip(path, arrays, wrap=dictionary, byteorder=b"little", **replaced):
    """A zip of torch's; ``replaced`` are other contents of entries, or None for none."""
    arrays = contiguous(arrays)
    entries = {
        "data.pkl": program(wrap(tensors(arrays))),
        "byteorder": byteorder,
        "version": b"3\n",
    }
    entries |= {f"data/{i}": array.tobytes() for i, array in enumerate(arrays.values())}
    compression = replaced.pop("compression", zipfile.ZIP_STORED)
    entries |= {
        key.replace("__", "/").replace("data_pkl", "data.pkl"): v for key, v in replaced.items()
    }
    with zipfile.ZipFile(path, "w", compression) as archive:
        for key, data in entries.items():
            if data is not None:
                archive.writestr(f"archive/{key}", data)
    return path


def write_stream(path, arrays, wrap=dictionary, little_endian=True):
    """What torch wrote before 1.6."""
    arrays = contiguous(arrays)
    parts = [pickle.dumps(part, 2) for part in (MAGIC, 1001, {"little_endian": little_endian})]
    parts.append(program(wrap(tensors(arrays, b"N"))))
    parts.append(pickle.dumps([str(index) for index in range(len(arrays))], 2))
    for array in arrays.values():
        parts += [struct.pack("<q", array.size), array.tobytes()]
    path.write_bytes(b"".join(parts))
    return path
