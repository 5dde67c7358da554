"""Bad input: an error that names the argument, its value and what was expected."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cases import OPS, call, problem

ARGUMENTS = {  # what is wrong: (the arguments, the error, what it says)
    "x of rank 2": ({"x": jnp.ones((5, 4))}, ValueError, r"x must be .*, got shape \(5, 4\)"),
    "x of rank 5": (
        {"x": jnp.ones((1, 2, 3, 5, 4))},
        ValueError,
        r"x must be \(B, H, W, Cin\) .*, got shape \(1, 2, 3, 5, 4\)",
    ),
    "kernel of rank 3": (
        {"kernel": jnp.ones((3, 4, 6))},
        ValueError,
        r"x must be \(B, W, Cin\) or \(W, Cin\) with a kernel of shape \(3, 4, 6\), got shape",
    ),
    "kernel of rank 2": (
        {"kernel": jnp.ones((4, 6))},
        ValueError,
        r"kernel must be .* one to three dimensions .*, got shape \(4, 6\)",
    ),
    "kernel of rank 6": (
        {"kernel": jnp.ones((1, 1, 1, 1, 4, 6))},
        ValueError,
        r"kernel must be .* one to three dimensions .*, got shape \(1, 1, 1, 1, 4, 6\)",
    ),
    "input channels": (
        {"kernel": jnp.ones((3, 3, 5, 6))},
        ValueError,
        r"\(3, 3, 5, 6\).*expects 5 input channels, got x with 4",
    ),
    "groups and input channels": (
        {"feature_group_count": 2},
        ValueError,
        "feature_group_count=2 expects 8 input channels, got x with 4",
    ),
    "groups and output channels": (
        {"kernel": jnp.ones((3, 3, 1, 6)), "feature_group_count": 4},
        ValueError,
        "kernel's 6 output channels .* multiple of feature_group_count=4",
    ),
    "no groups": (
        {"feature_group_count": 0},
        ValueError,
        "feature_group_count must be at least 1, got 0",
    ),
    "groups not an integer": (
        {"feature_group_count": 1.5},
        TypeError,
        "feature_group_count must be an integer, got 1.5",
    ),
    "scale": (
        {"scale": jnp.ones(5)},
        ValueError,
        r"scale must have shape \(6,\).*, got \(5,\)",
    ),
    "bias": ({"bias": jnp.ones(())}, ValueError, r"bias must have shape \(6,\).*, got \(\)"),
    "conv_bias": (
        {"conv_bias": jnp.ones((1, 6))},
        ValueError,
        r"conv_bias must have shape \(6,\).*, got \(1, 6\)",
    ),
    "residual": (
        {"residual": jnp.ones((2, 6, 5, 1))},
        ValueError,
        r"residual must have .*\(2, 6, 5, 6\), got \(2, 6, 5, 1\)",
    ),
    "residual of the wrong stride": (
        {"strides": 2},
        ValueError,
        r"residual must have .*\(2, 3, 3, 6\), got \(2, 6, 5, 6\)",
    ),
    "unbatched residual": (
        {"residual": jnp.ones((6, 5, 6))},
        ValueError,
        r"residual must have .*\(2, 6, 5, 6\), got \(6, 5, 6\)",
    ),
    "padding's name": ({"padding": "FULL"}, ValueError, "padding must be 'SAME', .* got 'FULL'"),
    "padding's form": ({"padding": (1, 1)}, ValueError, r"padding must be .*, got \(1, 1\)"),
    "padding of halves": (
        {"padding": ((0.5, 1), (1, 1))},
        ValueError,
        r"padding must be .*, got \(\(0.5, 1\)",
    ),
    "padding of one dimension": (
        {"padding": ((1, 1),)},
        ValueError,
        r"padding must be .* \(\(top, bottom\), \(left, right\)\), got \(\(1, 1\),\)",
    ),
    "padding of the past in a plane": (
        {"padding": "CAUSAL"},
        ValueError,
        "padding must be 'SAME', 'VALID' or .* got 'CAUSAL'",
    ),
    "padding that crops more than all": (
        {"padding": ((1, 1), (-3, -3))},
        ValueError,
        r"padding must not take more than there is of 5, got \(\(1, 1\), \(-3, -3\)\)",
    ),
    "padding by name between pixels": (
        {"input_dilation": 2},
        ValueError,
        r"padding must be in pixels with input_dilation=\(2, 2\), got 'SAME'",
    ),
    "input_dilation 0": (
        {"input_dilation": 0},
        ValueError,
        "input_dilation must be at least 1, got 0",
    ),
    "half a kernel_dilation": (
        {"kernel_dilation": (1, 0.5)},
        TypeError,
        "kernel_dilation must be an integer, got 0.5",
    ),
    "three kernel_dilations": (
        {"kernel_dilation": (1, 1, 1)},
        ValueError,
        r"kernel_dilation must be an integer or 2 of them, got \(1, 1, 1\)",
    ),
    "stride 0": ({"strides": 0}, ValueError, "strides must be at least 1, got 0"),
    "stride -1": ({"strides": (1, -1)}, ValueError, "strides must be at least 1, got -1"),
    "half a stride": ({"strides": 1.5}, TypeError, "strides must be an integer, got 1.5"),
    "three strides": (
        {"strides": (1, 1, 1)},
        ValueError,
        r"strides must be an integer or 2 of them, got \(1, 1, 1\)",
    ),
    "strides in words": ({"strides": "22"}, ValueError, "strides must be an integer .* got '22'"),
    "epsilon": ({"epsilon": -1.0}, ValueError, "epsilon must be .* at least 0, got -1.0"),
    "epsilon NaN": ({"epsilon": float("nan")}, ValueError, "epsilon must be finite .* got nan"),
    "epsilon in words": ({"epsilon": "tiny"}, TypeError, "epsilon must be a number, got 'tiny'"),
    "precision": ({"precision": "exact"}, ValueError, "precision must be None, .* got 'exact'"),
    "implementation": (
        {"implementation": "cudnn"},
        ValueError,
        'implementation must be None, "ffi" or "xla", got \'cudnn\'',
    ),
    "x is None": ({"x": None}, TypeError, "x must be an array, got NoneType"),
    "kernel in words": ({"kernel": "kernel"}, TypeError, "kernel must be an array, got str"),
}


def with_one_changed(op, name, dtype):
    arrays = problem(op)
    return arrays | {name: arrays[name].astype(dtype)}


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize(("bad", "error", "message"), ARGUMENTS.values(), ids=ARGUMENTS)
def test_arguments(op, bad, error, message):
    with pytest.raises(error, match=message):
        OPS[op](**problem(op) | bad)


@pytest.mark.parametrize("op", OPS)
def test_causal_is_named_where_it_is_allowed(op):
    arrays = problem(op, x=(2, 5, 4), kernel=(3, 4, 6))
    with pytest.raises(ValueError, match=r"'VALID', 'CAUSAL' or \(\(left, right\),\), got 'BOTH'"):
        call(op, arrays, padding="BOTH")


@pytest.mark.parametrize("name", ["mean", "var"])
def test_given_statistics(name):
    with pytest.raises(ValueError, match=rf"{name} must have shape \(6,\).*, got \(2,\)"):
        call("inference", problem() | {name: jnp.ones(2)})
    with pytest.raises(TypeError, match=f"{name} must be an array, got str"):
        call("inference", problem() | {name: name})


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("name", ["x", "kernel", "scale", "residual"])
@pytest.mark.parametrize("dtype", [np.int32, np.complex64, jnp.bfloat16, np.float64])
def test_the_kernel_takes_float32(op, name, dtype):
    message = f'implementation="ffi" needs float32, got {name} of {np.dtype(dtype)}'
    with jax.enable_x64(True), pytest.raises(TypeError, match=message):
        call(op, with_one_changed(op, name, dtype), "ffi")


def test_the_kernel_on_a_gpu(monkeypatch):
    """There is no GPU here: JAX is made to say that its default device is one."""
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    with pytest.raises(ValueError, match=r'"ffi" cannot be had: it would run on gpu, .* on a CPU'):
        call("inference", problem(), "ffi")


@pytest.mark.parametrize("bad", [{"strides": 2**31 + 1}, {"padding": ((2**31 + 1, 0), (0, 0))}])
def test_the_kernel_beyond_its_reach(bad):
    arrays = problem(without=("residual",)) | {"kernel": jnp.ones((1, 1, 4, 6))}
    with pytest.raises(ValueError, match=r'"ffi" cannot be had: strides, .* at most 2\*\*31'):
        jax.eval_shape(lambda: call("inference", arrays, "ffi", **bad))
