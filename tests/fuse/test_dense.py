"""Dense layers on the kernel, as the equations of all libraries: one matrix on the last axis."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import nn

import agreement
import resfuse
from fuse_chains import A, B, X, cast, conv, explained, results, table
from resfuse.purpose import Purpose

random = np.random.default_rng(2)
W, V = (
    jnp.asarray(random.normal(0, shape[0] ** -0.5, shape), jnp.float32)
    for shape in ((4, 9), (9, 4))
)
C = jnp.asarray(random.uniform(-0.5, 0.5, 9), jnp.float32)


def block(x):
    """ConvNeXt's, but for the norm: GELU, layer scale and residual."""
    y = nn.gelu(x @ W + C, approximate=False)
    return x + (y @ V + B) * A


def behind_a_convolution(x):
    return nn.silu(conv(x) @ W + C)


def by_rows(x):
    """Weights whose outputs come first, of images and then of their channels alone."""
    y = jnp.einsum("dc,bhwc->bhwd", W.T, x) + C
    return jnp.einsum("nd,cd->nc", y.reshape(-1, 9), V.T)


def one_by_one(x):
    """``w @ x`` under vmap: JAX leaves the outputs in front, and moves them to the end."""
    return jax.vmap(jax.vmap(jax.vmap(lambda x: nn.relu(W.T @ x + C))))(x)


def of_many_axes(x):
    return x.reshape(2, 3, 2, 5, 1, 4) @ W + C


def of_a_single_pixel(x):
    return nn.relu(x[0, 0, :1] @ W + C)


def of_computed_weights(x):
    return nn.relu(x @ (W * x.mean()) + C)


def of_means(x):
    return jnp.concatenate([x] * 2, 1).mean((1, 2)) @ W + C


def of_means_used_twice(x):
    y = x.mean((1, 2))
    return nn.relu(y @ W + C) @ V * y


DENSE = {  # the function, the columns "kernel" and "fused"
    "a block": (block, ["4x9 bias+gelu(exact)", "9x4 bn+add"]),
    "behind a convolution": (behind_a_convolution, ["3x3x4x4 -", "4x9 bias+silu"]),
    "weights by rows": (by_rows, ["4x9 bias", "9x4 -"]),
    "one by one": (one_by_one, ["4x9 bias+relu"]),
    "many axes": (of_many_axes, ["4x9 bias"]),
    "a single pixel": (of_a_single_pixel, ["4x9 bias+relu"]),
    "computed weights": (of_computed_weights, ["4x9 bias+relu"]),
    "means": (of_means, ["4x9 bn"]),
    "means, used twice": (of_means_used_twice, ["4x9 bias+relu", "9x4 mul"]),
}

OTHERS = {
    "few pixels": (
        lambda x: x[0, 0] @ (W * x.mean()),
        ["left to XLA: 1 dense, fewer than 8 pixels, unknown weights"],
    ),
    "empty": (lambda x: x[:0] @ W, ["left to XLA: 1 dense, empty"]),
    "half precision": (
        lambda x: x.astype(jnp.bfloat16) @ W.astype(jnp.bfloat16),
        ["left to XLA: 1 dense, bfloat16"],
    ),
    "an own matrix for each image": (lambda x: jnp.einsum("bhwc,bdc->bhwd", x, x[:, 0]), []),
    "two axes": (lambda x: jnp.einsum("bhwc,hc->bw", x, x[0, :, 0]), []),
    "the first axis": (lambda x: jnp.einsum("bhwc,bd->hwcd", x, W[:2]), []),
}


@pytest.mark.parametrize(("function", "expected"), DENSE.values(), ids=DENSE)
def test_found(capsys, function, expected):
    fused, rows, summary = table(capsys, function, X)
    kernels = [row.split()[1] for row in rows]
    assert list(map(" ".join, zip(kernels, fused, strict=True))) == expected
    assert f" and {sum('3x3' not in kernel for kernel in kernels)} dense layers" in summary


@pytest.mark.parametrize(("function", "expected"), OTHERS.values(), ids=OTHERS)
def test_left_to_xla(capsys, function, expected):
    (_, *rows, _), below = explained(capsys, function, X)
    assert (rows, below) == ([], expected)


FUNCTIONS = {name: cast(function) for name, (function, _) in DENSE.items()}


def check(functions, x, transform=None, no_gradients=()):
    ours, exact = results(functions, x, transform, no_gradients)
    for name in functions:
        agreement.assert_near(ours[name], exact[name])


def test_values_and_gradients():
    check(FUNCTIONS, X, no_gradients=FUNCTIONS.keys() - {"a block", "one by one"})


def test_vmap():
    check({"a block": FUNCTIONS["a block"]}, jnp.stack([X, 1 - X]), jax.vmap, {"a block"})


def test_a_mean_leaves_xla_nothing_to_compile():
    """Of its sum and of what follows a dense layer the kernel makes two calls."""
    x = jnp.ones((1, 8, 8, 4))
    fast = resfuse.fuse(lambda x: of_means(x[:, :4]))
    fast(x)
    (program,) = fast._programs.values()
    text = program._jitted.lower(program._arrays(Purpose.ANYTHING), [x]).as_text()
    assert "divide" not in text
