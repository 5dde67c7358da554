"""What loading takes beyond the model: the file is mapped, and given back as it is read."""

import subprocess
import sys

import orbax.checkpoint as ocp
from flax import nnx

import network_case
import torch_files
from resfuse import nnx as networks
from resfuse import save
from resfuse.models.architectures import ARCHITECTURES
from resfuse.weights.files import read_arrays

# By how much the process was larger than it is with the model in the end. Each file has a process
# of its own: memory that one model has left to the allocator would count as the next one's.
SCRIPT = """
import re, sys
from resfuse.nnx import load

def resident(name):
    return int(re.search(name + r":\\s+(\\d+) kB", open("/proc/self/status").read())[1]) * 1024

with open("/proc/self/clear_refs", "w") as peak:
    peak.write("5")  # begins anew
model = load(sys.argv[1])
print(resident("VmHWM") - resident("VmRSS"))
"""


def _beyond_model(file):
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT, file], capture_output=True, text=True, check=True
    )
    return int(run.stdout)


def test_no_copy_of_the_file_is_in_memory(tmp_path):
    model = network_case.filled(networks.ResNet, ARCHITECTURES["ResNet18"])
    safetensors = tmp_path / "safetensors"
    save(model, safetensors)
    arrays = dict(read_arrays(safetensors))
    zipped = torch_files.write_zip(tmp_path / "zip", arrays)
    stream, orbax = torch_files.write_stream(tmp_path / "stream", arrays), tmp_path / "orbax"
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(orbax, nnx.state(model))
    files = safetensors, zipped, stream, orbax
    # A copy would be all of the file. The largest array is a fifth of it, and what has been read is
    # given back when the system finds the time.
    assert max(map(_beyond_model, files)) < 0.8 * safetensors.stat().st_size
