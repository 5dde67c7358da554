"""``fuse`` on whole networks: the function that was given to it, on the kernel."""

import functools

import jax
import jax.numpy as jnp
import pytest

import agreement
import resfuse
from fuse_models import CONVOLUTIONS, LIBRARIES, network

TRAINING = pytest.mark.parametrize("training", [False, True], ids=["inference", "training"])


@functools.cache
def expected(library, training):
    """The unfused network's results in float32 and float64."""
    apply, weights, x = network(library)
    plain = functools.partial(apply, training=training)
    return jax.jit(plain)(weights, x), agreement.in_float64(jax.jit(plain), weights, x)


@TRAINING
@pytest.mark.parametrize("library", LIBRARIES)
def test_closed_over_weights(library, training):
    apply, weights, x = network(library)
    fast = resfuse.fuse(lambda x: apply(weights, x, training))
    program = jax.jit(fast).lower(x).as_text()
    assert "resfuse_max_pool" in program
    assert "stablehlo.convolution" not in program
    agreement.assert_as_accurate(fast(x), *expected(library, training))


@TRAINING
@pytest.mark.parametrize("library", LIBRARIES)
def test_weights_as_arguments(library, training):
    apply, weights, x = network(library)
    fast = jax.jit(resfuse.fuse(functools.partial(apply, training=training)))
    agreement.assert_as_accurate(fast(weights, x), *expected(library, training))


def test_gradients_by_weights():
    apply, weights, x = network("equinox")

    def gradient(apply):
        return jax.jit(jax.grad(lambda w, x: jnp.sum(jnp.sin(apply(w, x)[0]))))

    plain = functools.partial(apply, training=True)
    ours, theirs = gradient(resfuse.fuse(plain)), gradient(plain)
    exact = agreement.in_float64(theirs, weights, x)
    agreement.assert_as_accurate(ours(weights, x), theirs(weights, x), exact)


@pytest.mark.parametrize("library", LIBRARIES)
def test_every_batch_norm_shortcut_and_relu_is_fused(library, capsys):
    apply, weights, x = network(library)
    resfuse.explain(lambda x: apply(weights, x, False)[0], x)
    lines = capsys.readouterr().out.splitlines()
    fused = sorted(line.split()[4] for line in lines[1:-1])
    projection = "bias" if library in ("nnx", "equinox") else "bn"  # comes last, takes the sum
    assert fused == sorted([f"{projection}+add+relu", "bn", "bn+add+relu", *["bn+relu"] * 3])
    assert lines[-1].startswith(f"{CONVOLUTIONS} of {CONVOLUTIONS} convolutions on the kernel")
