"""The values of the op, held against float64 loops that share no code with it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import agreement
import resfuse
from cases import call, expected, jitted, kernel_calls, problem

AFFINE, TRAINING = ["resfuse_conv_affine"], ["resfuse_conv_statistics", "resfuse_normalize"]
GEOMETRIES = {
    "same": {},
    "same, strides": {"strides": 2},
    "valid": {"padding": "VALID", "strides": (1, 2)},
    "explicit": {"padding": ((2, 0), (1, 3)), "strides": (2, 1)},
    "wide padding": {"padding": ((4, 4), (5, 5))},
    "groups": {"feature_group_count": 2, "kernel": (3, 2, 2, 6)},
    "depthwise": {"feature_group_count": 4, "kernel": (2, 3, 1, 8)},
    "pointwise": {"kernel": (1, 1, 4, 6), "padding": "VALID"},
    "unbatched": {"x": (6, 5, 4)},
}
OPTIONS = {
    "no relu": ({"relu": False}, ()),
    "epsilon": ({"epsilon": 0.5}, ()),
    "no scale": ({}, ("scale",)),
    "no bias": ({}, ("bias",)),
    "no conv_bias": ({}, ("conv_bias",)),
    "no residual": ({}, ("residual",)),
    "bare": ({"relu": False}, ("scale", "bias", "conv_bias", "residual")),
}
WITHOUT = {
    "no mean": ("mean",),
    "no var": ("var",),
    "no batch norm": ("scale", "mean", "var"),
    "only the convolution": ("scale", "bias", "mean", "var", "conv_bias", "residual"),
}


def split(case):
    """The shapes of a case, and its options."""
    shapes = {name: case[name] for name in ("x", "kernel") if name in case}
    return shapes, {name: value for name, value in case.items() if name not in shapes}


def check(op, arrays, got, **options):
    """Against float64: by the bound on rounding, or in training as accurate as the reference."""
    exact, bound = expected(arrays, **options)
    if op == "inference":
        assert (got.shape, got.dtype) == (exact[0].shape, jnp.float32)
        assert (np.abs(got - exact[0]) <= bound).all()
    else:
        agreement.assert_as_accurate(got, call(op, arrays, "xla", **options), exact)


@pytest.mark.parametrize("implementation", agreement.IMPLEMENTATIONS)
@pytest.mark.parametrize("op", ["inference", "training"])
@pytest.mark.parametrize("case", GEOMETRIES.values(), ids=GEOMETRIES)
def test_geometry(op, case, implementation):
    shapes, geometry = split(case)
    arrays = problem(op, **shapes, **geometry)
    check(op, arrays, call(op, arrays, implementation, **geometry), **geometry)


@pytest.mark.parametrize("implementation", agreement.IMPLEMENTATIONS)
@pytest.mark.parametrize("op", ["inference", "training"])
@pytest.mark.parametrize(("options", "without"), OPTIONS.values(), ids=OPTIONS)
def test_options(op, options, without, implementation):
    arrays = problem(op, without=without)
    check(op, arrays, call(op, arrays, implementation, **options), **options)


@pytest.mark.parametrize("implementation", agreement.IMPLEMENTATIONS)
@pytest.mark.parametrize("without", WITHOUT.values(), ids=WITHOUT)
def test_without_statistics(without, implementation):
    arrays = problem(without=without)
    check("inference", arrays, call("inference", arrays, implementation))


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("op", ["inference", "training"])
def test_on_each_instruction_set(op):
    arrays = problem(op)
    check(op, arrays, call(op, arrays, "ffi"))


@pytest.mark.parametrize("op", ["inference", "training"])
def test_jit_and_eager_give_the_same_bits(op):
    arrays = problem(op)
    agreement.assert_identical(jitted(op)(arrays), call(op, arrays))


@pytest.mark.parametrize("precision", [None, "highest", "default", jax.lax.Precision.HIGH])
@pytest.mark.parametrize("implementation", ["ffi", "xla"])
def test_precision(precision, implementation):
    arrays = problem()
    check("inference", arrays, call("inference", arrays, implementation, precision=precision))


@pytest.mark.parametrize(
    ("op", "implementation", "targets"),
    [
        ("inference", None, AFFINE),
        ("inference", "ffi", AFFINE),
        ("training", None, TRAINING),
        ("training", "ffi", TRAINING),
        ("inference", "xla", []),
        ("training", "xla", []),
    ],
)
def test_which_implementation_runs(op, implementation, targets):
    calls = kernel_calls(lambda arrays: call(op, arrays, implementation), problem(op))
    assert [name for name, _ in calls] == targets


def test_integer_images_promote_to_the_parameters():
    arrays = problem() | {"x": jnp.arange(120).reshape(2, 3, 5, 4), "residual": None}
    with jax.numpy_dtype_promotion("standard"):
        y = call("inference", arrays)
    check("inference", arrays, y)


def test_integers_alone_compute_in_float32():
    x, ones = jnp.ones((1, 2, 2, 3), jnp.int32), jnp.ones(3, jnp.int32)
    y = resfuse.conv_bn_relu(x, jnp.ones((1, 1, 3, 3), jnp.int32), ones, ones, ones, ones)
    assert y.dtype == jnp.float32
    np.testing.assert_allclose(y, 1 + 2 / np.sqrt(1 + 1e-5), rtol=1e-6)


@pytest.mark.parametrize("op", ["inference", "training"])
def test_bfloat16_takes_the_reference(op):
    arrays = jax.tree.map(lambda array: array.astype(jnp.bfloat16), problem(op))
    assert not kernel_calls(lambda arrays: call(op, arrays), arrays)
    got = call(op, arrays)
    y, *statistics = jax.tree.leaves(got)
    assert y.dtype == jnp.bfloat16
    assert all(array.dtype == jnp.float32 for array in statistics)
    agreement.assert_identical(got, call(op, arrays, "xla"))


def test_float64_takes_the_reference():
    with jax.enable_x64(True):
        arrays = jax.tree.map(lambda array: array.astype(jnp.float64), problem())
        y = call("inference", arrays)
    assert y.dtype == jnp.float64
    np.testing.assert_allclose(y, expected(arrays)[0][0], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("ratio", [0, 10, 1000])
def test_statistics_of_a_channel_far_from_zero(ratio):
    """The mean is ``ratio`` times the deviation, where E[y^2] - E[y]^2 loses the variance."""
    arrays = problem("training", x=(4, 8, 8, 4), without=("conv_bias", "residual"))
    arrays["x"] = (arrays["x"] + ratio).at[..., 1:].set(0)
    geometry = {"padding": "VALID"}
    exact, _ = expected(arrays, **geometry)
    ours, flax = (call("training", arrays, which, **geometry) for which in ("ffi", "xla"))
    deviation = np.sqrt(exact[2].max())
    for got, theirs, value in zip(ours, flax, exact, strict=True):
        size = agreement.EPSILON * max(np.abs(value).max(), deviation)
        assert np.abs(got - value).max() <= max(np.abs(theirs - value).max(), 4 * size)
