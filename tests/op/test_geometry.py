"""Every convolution: one to three dimensions, with dilation of images and kernels, and cropping."""

import functools

import jax
import numpy as np
import pytest

from agreement import assert_near, in_float64
from cases import OPS, call, expected, problem
from kernel_case import on_every_isa

LINE = {"x": (2, 9, 4), "kernel": (3, 4, 6)}
SPACE = {"x": (2, 4, 5, 3, 4), "kernel": (3, 2, 3, 4, 6)}
GEOMETRIES = {
    "line": LINE,
    "line, strided": LINE | {"strides": 2, "padding": ((0, 2),)},
    "line, dilated": LINE | {"kernel_dilation": 3},
    "line, causal": LINE | {"kernel_dilation": 4, "padding": "CAUSAL"},
    "line, causal and strided": LINE | {"strides": (2,), "padding": "causal"},
    "line, transposed": LINE | {"input_dilation": 2, "padding": ((1, 2),)},
    "line, depthwise": {"x": (2, 9, 4), "kernel": (5, 1, 8), "feature_group_count": 4},
    "line, unbatched": {"x": (9, 4), "kernel": (3, 4, 6), "padding": "VALID"},
    "plane, dilated": {"kernel_dilation": (2, 3)},
    "plane, dilated and strided": {"kernel_dilation": 2, "strides": (1, 2), "padding": "VALID"},
    "plane, dilated depthwise": {
        "kernel": (3, 3, 1, 4), "kernel_dilation": 2, "feature_group_count": 4,
    },
    "plane, transposed": {
        "kernel": (4, 4, 4, 6), "input_dilation": 2, "padding": ((2, 2), (2, 2)),
    },
    "plane, transposed in groups": {
        "kernel": (3, 2, 2, 6), "input_dilation": (2, 3), "padding": ((1, 2), (0, 1)),
        "feature_group_count": 2,
    },
    "plane, all at once": {
        "kernel": (3, 2, 4, 6), "strides": (3, 2), "input_dilation": (2, 3),
        "kernel_dilation": (3, 2), "padding": ((4, -1), (-2, 3)),
    },
    "plane, taps that meet no pixel": {
        "kernel": (1, 2, 4, 6), "input_dilation": 3, "padding": ((1, 1), (2, 0)),
    },
    "plane, cropped": {"padding": ((-1, 0), (1, -2))},
    "plane, cropped to padding": {"kernel": (1, 2, 4, 6), "padding": ((-6, 3), (3, -5))},
    "space": SPACE,
    "space, strided": SPACE | {"strides": (2, 1, 2), "padding": "VALID"},
    "space, dilated": SPACE | {"kernel_dilation": (1, 2, 1)},
    "space, transposed": SPACE | {
        "input_dilation": (2, 1, 2), "padding": ((1, 1), (0, 1), (1, 2)),
    },
    "space, depthwise": {
        "x": (2, 4, 5, 3, 4), "kernel": (3, 3, 3, 1, 4), "feature_group_count": 4,
    },
    "space, unbatched": SPACE | {"x": (4, 5, 3, 4)},
}  # fmt: skip


def options(case):
    return {name: value for name, value in case.items() if name not in ("x", "kernel")}


@functools.cache
def results(op):
    """What the kernel gives on each instruction set, and the reference in float64."""
    arrays = {name: problem(op, **case) for name, case in GEOMETRIES.items()}

    def program(implementation):
        """One of all cases."""
        return jax.jit(
            lambda arrays: {
                name: call(op, arrays[name], implementation, **options(case))
                for name, case in GEOMETRIES.items()
            }
        )

    kernel = program("ffi")
    by_isa = on_every_isa(lambda: jax.tree.map(np.asarray, kernel(arrays)))
    return by_isa, in_float64(program("xla"), arrays)


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("name", GEOMETRIES)
def test_values(op, name):
    case = GEOMETRIES[name]
    exact, _ = expected(problem(op, **case), **options(case))
    exact = exact[0] if op == "inference" else exact
    by_isa, reference = results(op)
    for each in by_isa.values():
        assert_near(each[name], exact)
    for got, value in zip(jax.tree.leaves(reference[name]), jax.tree.leaves(exact), strict=True):
        np.testing.assert_allclose(got, value, rtol=1e-12, atol=1e-12)
