"""Pickles that would do harm: they are data to us, and nothing of them is imported or called."""

import collections
import os
import pickle
import struct

import numpy as np
import pytest

import torch_files
from resfuse.weights.errors import WeightsError
from resfuse.weights.files import read_arrays
from torch_files import call, name, number, program, text


class Harm:
    """Pickles as a call of a function, with these arguments."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def harm(path, protocol=2):
    """Makes a file, if it is run."""
    return pickle.dumps({"w": Harm(os.system, f"touch {path}")}, protocol)


ORDERED = "collections", "OrderedDict"
KNOWN = "torch._utils", "_rebuild_tensor_v2"
# An instruction, or its arguments, as no ``torch.save`` writes them; and what the error names.
HOSTILE = {
    "eval": (pickle.dumps(Harm(eval, "1")), "eval"),
    "getattr": (pickle.dumps(Harm(getattr, Harm(eval, "1"), "x")), "builtins.getattr"),
    "protocol 0": (pickle.dumps(Harm(eval, "1"), 0), "eval"),
    "attribute of a module": (program(name("torch", "_utils.sys.modules")), "sys.modules"),
    "dots in the module": (program(name("torch._utils._rebuild_tensor_v2", "__globals__")), "asks"),
    "numpy scalar": (pickle.dumps(np.float32(1)), "numpy"),
    "class": (pickle.dumps(collections.Counter), "Counter"),
    "call of a call": (program(call(call(name(*ORDERED)))), "calls"),
    "call of a text": (program(call(text("os.system"), text("ls"))), "calls"),
    "arguments of no tuple": (program(name(*KNOWN) + text("x") + b"R"), "calls"),
    "tensor of texts": (program(call(name(*KNOWN), *map(text, "abcd"))), "storage"),
    "tensor without arguments": (program(call(name(*KNOWN))), "broken"),
    "type called": (program(call(name("torch", "FloatStorage"), number(10**9))), "of its own"),
    "build on a class": (program(name(*KNOWN) + b"}b"), "sets attributes"),
    "build on a tensor": (program(b"}Q"), "persistent"),
    "new object": (program(name(*KNOWN) + b")\x81"), "NEWOBJ"),
    "instance": (program(b"(ios\nsystem\n"), "INST"),
    "object": (program(b"(" + name("os", "system") + b"o"), "asks for os.system"),
    "extension": (program(b"\x82\x01"), "EXT1"),
    "filled from the start": (program(call(name(*ORDERED), b"]]a")), "begin empty"),
    "key that is hashed for ever": (program(b"}" + b")" + b"\x85" * 50 + b"Ns"), "strange keys"),
    "append to a dictionary": (program(b"}Na"), "no list"),
    "item of a list": (program(b"]" + text("a") + b"Ns"), "no dictionary"),
    "odd items": (program(b"}(" + text("a") + b"u"), "broken"),
    "memo without an entry": (program(b"j" + struct.pack("<I", 2**32 - 1)), "broken"),
    "items without a mark": (program(b"t"), "more items"),
    "empty stack": (b"\x80\x02.", "broken"),
    "no end": (b"\x80\x02N", "broken"),
    "long text": (b"\x80\x02X" + struct.pack("<I", 2**32 - 1) + b"short.", "broken"),
    "long bytes": (b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + b"short.", "BINBYTES8|broken"),
    "long number": (b"\x80\x02\x8b" + struct.pack("<i", 2**31 - 1) + b".", "LONG4|broken"),
    "line without an end": (b"\x80\x02c" + b"a" * 10**6, "broken"),
    "unknown instruction": (program(b"\xff"), "broken"),
    "storage of a strange type": (program(torch_files.storage("0", "nn.Module", 1)), "asks for"),
}  # fmt: skip


def zip_of(path, data):
    return torch_files.write_zip(path, {"w": np.ones(4, np.float32)}, data_pkl=data)


def stream_of(path, data):
    torch_files.write_stream(path, {"w": np.ones(4, np.float32)})
    start = b"".join(pickle.dumps(part, 2) for part in (torch_files.MAGIC, 1001))
    path.write_bytes(start + pickle.dumps({"little_endian": True}, 2) + data + bytes(100))
    return path


@pytest.mark.parametrize("write", [zip_of, stream_of])
@pytest.mark.parametrize("protocol", range(5))
def test_no_call_is_made(tmp_path, write, protocol):
    made = tmp_path / "made"
    path = write(tmp_path / "hostile", harm(made, protocol))
    with pytest.raises(WeightsError, match=r"system|asks for|no place"):
        read_arrays(path)
    assert not made.exists()
    pickle.loads(harm(made, protocol))  # so that the test can fail
    assert made.exists()


@pytest.mark.parametrize("write", [zip_of, stream_of])
@pytest.mark.parametrize(("data", "message"), HOSTILE.values(), ids=HOSTILE)
def test_is_refused(tmp_path, write, data, message):
    with pytest.raises(WeightsError, match=message):
        read_arrays(write(tmp_path / "hostile", data))


def test_a_large_memo_index_takes_no_memory(tmp_path):
    stored = program(torch_files.dictionary({}) + b"r" + struct.pack("<I", 2**32 - 1))
    with pytest.raises(WeightsError, match="no arrays"):
        read_arrays(zip_of(tmp_path / "hostile", stored))


def test_a_dictionary_within_itself_ends(tmp_path):
    looped = program(b"}q\x00" + text("state_dict") + b"h\x00s")
    with pytest.raises(WeightsError, match="no arrays"):
        read_arrays(zip_of(tmp_path / "hostile", looped))


@pytest.mark.parametrize("key", [".", "../0", "0/../../data.pkl", "\x00"])
def test_storages_are_entries_of_the_zip(tmp_path, key):
    stored = torch_files.tensor(torch_files.storage(key, "FloatStorage", 4), (4,), (1,))
    path = zip_of(tmp_path / "hostile", program(torch_files.dictionary({"w": stored})))
    with pytest.raises(WeightsError, match="lacks"):
        read_arrays(path)
