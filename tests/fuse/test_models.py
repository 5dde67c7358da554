"""``fuse`` on whole networks: the function that was given to it, on the kernel."""

import functools
import itertools

import jax
import jax.numpy as jnp
import pytest

import agreement
import resfuse
from fuse_chains import explained
from fuse_models import CONVOLUTIONS, LIBRARIES, network
from sampling import long_but, some


@functools.cache
def computed(library):
    """With weights as arguments: by ``fuse``, by the network itself, and this in float64.

    The results in inference, those in training, with the statistics that it updates, and the
    gradients of a loss by the weights. One program, as compiling takes long.
    """
    apply, weights, x = network(library)
    differentiable = [jnp.isdtype(leaf.dtype, "real floating") for leaf in jax.tree.leaves(weights)]

    def loss(apply, weights, x):
        y, *state = apply(weights, x)
        return jnp.sum(jnp.sin(y)), (y, *state)

    def everything(transform):
        inference, training = (
            transform(functools.partial(apply, training=training)) for training in (False, True)
        )
        gradient = jax.grad(functools.partial(loss, training), has_aux=True, allow_int=True)

        @jax.jit
        def function(weights, x):
            gradients, results = gradient(weights, x)
            gradients = list(itertools.compress(jax.tree.leaves(gradients), differentiable))
            return {"inference": inference(weights, x), "training": results, "gradients": gradients}

        return function

    ours, theirs = everything(resfuse.fuse), everything(lambda function: function)
    exact = agreement.in_float64(theirs, weights, x)
    return ours(weights, x), theirs(weights, x), exact


@pytest.mark.parametrize(
    ("library", "training"),
    long_but(
        [("nnx", False)],
        [("linen", True), *((library, False) for library in LIBRARIES)],
    ),
)
def test_closed_over_weights(library, training):
    apply, weights, x = network(library)
    fast = resfuse.fuse(lambda x: apply(weights, x, training))
    program = jax.jit(fast).lower(x).as_text()
    assert "resfuse_max_pool" in program
    assert "stablehlo.convolution" not in program
    _, *expected = (each["training" if training else "inference"] for each in computed(library))
    agreement.assert_as_accurate(fast(x), *expected)


@pytest.mark.parametrize("library", some(2, LIBRARIES))
@pytest.mark.parametrize("what", ["inference", "training", "gradients"])
def test_weights_as_arguments(library, what):
    agreement.assert_as_accurate(*(each[what] for each in computed(library)))


@pytest.mark.parametrize("library", LIBRARIES)
def test_every_batch_norm_is_fused_in_training(library, capsys):
    apply, weights, x = network(library)
    function = functools.partial(apply, training=True)
    lines, _ = explained(capsys, function, weights, x)
    fused = sorted(line.split()[5] for line in lines[1:-1])
    # The branch that comes last takes the sum: in two libraries a projection without a norm.
    last = ["bias+add+relu"] if library in ("nnx", "equinox") else ["bn(batch)+add+relu"]
    blocks = [*["bn(batch)+relu"] * 3, "bn(batch)", "bn(batch)+add+relu"]
    assert fused == sorted([*blocks, *last])
    program = jax.jit(resfuse.fuse(function)).lower(weights, x).as_text()
    calls = program.count("custom_call @resfuse_conv_statistics")
    assert calls == sum("bn(batch)" in parts for parts in fused)


@pytest.mark.parametrize("library", LIBRARIES)
def test_every_batch_norm_shortcut_and_relu_is_fused(library, capsys):
    apply, weights, x = network(library)
    lines, _ = explained(capsys, lambda x: apply(weights, x, False)[0], x)
    fused = sorted(line.split()[5] for line in lines[1:-1])
    projection = "bias" if library in ("nnx", "equinox") else "bn"  # comes last, takes the sum
    classifier = "bn"  # of the means of two images, whose division it takes
    blocks = [*["bn+relu"] * 3, "bn", "bn+add+relu", f"{projection}+add+relu"]
    assert fused == sorted([*blocks, classifier])
    summary = f"{CONVOLUTIONS} of {CONVOLUTIONS} convolutions and 1 dense layers on the kernel"
    assert lines[-1].startswith(summary)
