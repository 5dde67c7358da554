"""Whole networks, with batch-norm statistics of data: logits against float64, and the same bits.

XLA makes its pool when it starts, of NPROC threads; so each number is a process, which runs this
file as a program.
"""

import hashlib
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import resfuse
from agreement import filled, images, in_float64, key
from resfuse import linen

# Relative to the largest logit.
WINOGRAD, HIGHEST = 1e-4, 1e-5
MODELS = {"resnet18": linen.ResNet18, "resnet50": linen.ResNet50}
SIZE = 112  # Winograd's 4x4 and 2x2 tiles and both 1x1 and 7x7 windows; a quarter of 224's work
MOMENTUM = 0.9
SHALLOW = linen.Architecture("basic", (1, 1, 1, 1))  # every convolution of ResNet18, but once


def calibrated(model, size):
    """Variables whose running statistics are those of some images, in float64."""
    plain = model.clone(implementation="xla")
    x = images(4, size, size, 3)
    with jax.numpy_dtype_promotion("standard"):
        variables = filled(jax.eval_shape(plain.init, key(0), x))
    before = variables["batch_stats"]

    def train(variables, x):
        return jax.jit(lambda v, x: plain.apply(v, x, mutable=["batch_stats"])[1])(variables, x)

    after = in_float64(train, variables, x)["batch_stats"]
    stats = jax.tree.map(
        lambda new, old: ((new - MOMENTUM * old) / (1 - MOMENTUM)).astype(np.float32), after, before
    )
    return variables | {"batch_stats": stats}


@pytest.mark.parametrize("name", MODELS)
def test_logits_are_those_of_float64(name):
    model = MODELS[name](num_classes=10)
    variables, x = calibrated(model, SIZE), images(2, SIZE, SIZE, 3)
    plain = model.clone(implementation="xla")

    def infer(variables, x):
        return plain.apply(variables, x, use_running_average=True)

    exact = in_float64(jax.jit(infer), variables, x)
    for precision, most in ((None, WINOGRAD), ("highest", HIGHEST)):
        with jax.default_matmul_precision(precision):
            logits = resfuse.fuse(lambda x: infer(variables, x))(x)
        assert np.abs(logits - exact).max() <= most * np.abs(exact).max(), precision


def main():
    model = linen.ResNet(SHALLOW, num_classes=10, cifar_stem=True)
    x = images(3, 40, 40, 3)
    variables = filled(jax.eval_shape(model.init, key(0), x))
    fast = resfuse.fuse(lambda x: model.apply(variables, x, use_running_average=True))
    # One image at a time takes other algorithms than the batch.
    logits = [fast(x), *map(fast, jnp.split(x, 3))]
    print(hashlib.sha256(b"".join(np.asarray(each).tobytes() for each in logits)).hexdigest())


def test_same_bits_for_any_number_of_threads():
    environment = {k: v for k, v in os.environ.items() if k not in ("XLA_FLAGS", "RESFUSE_ISA")}
    digests = {
        subprocess.run(
            [sys.executable, __file__],
            env=environment | {"NPROC": str(threads)},
            stdout=subprocess.PIPE,
            check=True,
            text=True,
        ).stdout
        for threads in (1, 2, 3)
    }
    assert len(digests) == 1


if __name__ == "__main__":
    main()
