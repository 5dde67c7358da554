"""Every convolution: one to three dimensions, with dilation of images and kernels, and cropping."""

import pytest

from agreement import assert_as_accurate
from cases import OPS, call, expected, problem

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


@pytest.mark.parametrize("implementation", [None, "ffi", "xla"])
@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("case", GEOMETRIES.values(), ids=GEOMETRIES)
def test_values(op, case, implementation):
    arrays = problem(op, **case)
    options = {name: value for name, value in case.items() if name not in ("x", "kernel")}
    exact, _ = expected(arrays, **options)
    exact = exact[0] if op == "inference" else exact
    got, reference = (call(op, arrays, i, **options) for i in (implementation, "xla"))
    assert_as_accurate(got, reference, exact)
