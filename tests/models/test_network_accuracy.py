"""Whole networks, with batch-norm statistics of data: logits against float64."""

import jax
import numpy as np
import pytest

import resfuse
from agreement import filled, images, in_float64, key
from resfuse import linen
from sampling import some

# Relative to the largest logit.
WINOGRAD, HIGHEST = 1e-4, 1e-5
MODELS = {"resnet18": linen.ResNet18, "resnet50": linen.ResNet50}
SIZE = 96  # Winograd's 4x4 and 2x2 tiles and both 1x1 and 7x7 windows; a fifth of 224's work
MOMENTUM = 0.9


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


@pytest.mark.parametrize("name", some(1, ["resnet18", "resnet50"]))
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
