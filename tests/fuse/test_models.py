"""``fuse`` on whole networks: the function that was given to it, on the kernel."""

import functools
import itertools

import jax
import jax.numpy as jnp
import pytest

import agreement
import resfuse
from fuse_models import CONVOLUTIONS, LIBRARIES, network


@functools.cache
def expected(library, training):
    """The unfused network's results in float32 and float64."""
    apply, weights, x = network(library)
    plain = functools.partial(apply, training=training)
    return jax.jit(plain)(weights, x), agreement.in_float64(jax.jit(plain), weights, x)


def explained(capsys, function, *args):
    resfuse.explain(function, *args)
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize(
    ("library", "training"), [*((library, False) for library in LIBRARIES), ("linen", True)]
)
def test_closed_over_weights(library, training):
    apply, weights, x = network(library)
    fast = resfuse.fuse(lambda x: apply(weights, x, training))
    program = jax.jit(fast).lower(x).as_text()
    assert "resfuse_max_pool" in program
    assert "stablehlo.convolution" not in program
    agreement.assert_as_accurate(fast(x), *expected(library, training))


@pytest.mark.parametrize("library", LIBRARIES)
def test_weights_as_arguments(library):
    apply, weights, x = network(library)
    fast = jax.jit(resfuse.fuse(functools.partial(apply, training=False)))
    agreement.assert_as_accurate(fast(weights, x), *expected(library, False))


@pytest.mark.parametrize("library", LIBRARIES)
def test_training(library):
    """The loss, its gradients by the weights, and the statistics that training updates."""
    apply, weights, x = network(library)
    differentiable = [jnp.isdtype(leaf.dtype, "real floating") for leaf in jax.tree.leaves(weights)]

    def step(apply):
        def loss(weights, x):
            y, *state = apply(weights, x)
            return jnp.sum(jnp.sin(y)), (y, state)

        @jax.jit
        def function(weights, x):
            results, gradients = jax.value_and_grad(loss, has_aux=True, allow_int=True)(weights, x)
            return results, list(itertools.compress(jax.tree.leaves(gradients), differentiable))

        return function

    plain = functools.partial(apply, training=True)
    ours, theirs = step(resfuse.fuse(plain)), step(plain)
    exact = agreement.in_float64(theirs, weights, x)
    agreement.assert_as_accurate(ours(weights, x), theirs(weights, x), exact)


@pytest.mark.parametrize("library", LIBRARIES)
def test_every_batch_norm_is_fused_in_training(library, capsys):
    apply, weights, x = network(library)
    function = functools.partial(apply, training=True)
    lines = explained(capsys, function, weights, x)
    fused = sorted(line.split()[4] for line in lines[1:-1])
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
    lines = explained(capsys, lambda x: apply(weights, x, False)[0], x)
    fused = sorted(line.split()[4] for line in lines[1:-1])
    projection = "bias" if library in ("nnx", "equinox") else "bn"  # comes last, takes the sum
    assert fused == sorted([f"{projection}+add+relu", "bn", "bn+add+relu", *["bn+relu"] * 3])
    assert lines[-1].startswith(f"{CONVOLUTIONS} of {CONVOLUTIONS} convolutions on the kernel")
