"""Depthwise tiles along the rows of the image: exact at all their ends, and the same bits there."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import oracle
from covering import covering
from kernel_case import (
    Case,
    assert_exact,
    assert_padding_is_zeros,
    assert_same_bits,
    compiled_together,
    in_programs,
    integers,
    normals,
    on_every_isa,
)
from resfuse import fuse
from resfuse.kernel.affine import affine_on_cpu
from resfuse.kernel.epilogue import compile_elementwise

# Tiles have up to 14, 11, 9 or 7 pixels; rows of so many outputs are cut into one to four of them.
WIDTHS = (1, 7, 8, 9, 10, 11, 12, 13, 14, 15, 25)
# Vectors have 16, 8 or 4 channels, panels two of them, strips with sums up to 16.
CHANNELS = (2, 3, 4, 7, 8, 9, 15, 16, 17, 24, 31, 32, 33, 40, 70, 101, 273)
WINDOWS = (1, 2, 3, 5, 7)
AXES = {
    "width": WIDTHS,
    "channels": CHANNELS,
    "window": [(3, window) for window in WINDOWS] + [(5, 5), (7, 7)],
    "stride": (1, 2),
    "padding": ("none", "same", "left", "right"),
    "residual": (False, True),
}


def case(row):
    window, stride, width = row["window"], row["stride"], row["width"]
    low, high = {
        "none": (0, 0),
        "same": ((window[1] - 1) // 2, window[1] // 2),
        "left": (window[1] + 1, 0),  # more than a window
        "right": (0, 2 * window[1]),
    }[row["padding"]]
    size = max(1, (width - 1) * stride + window[1] - low - high)
    padding = ((1, window[0] - 2), (low, high))
    channels = row["channels"], row["channels"]
    return Case(1, (4, size), channels, window, (1, stride), padding, channels[0], row["residual"])


@in_programs([case(row) for row in covering(AXES, lambda row: case(row).work > 0)], 40, share=2)
def test_exact(cases):
    assert_exact(*cases)


def test_phases_and_depth():
    """Outputs that are scattered; windows of several planes."""
    assert_exact(
        Case(1, (4, 7), (20, 20), (3, 3), None, ((1, 1), (1, 1)), 20, image_dilation=(2, 2)),
        Case(2, (3, 4, 9), (19, 19), (2, 3, 3), (1, 1, 2), ((1, 0), (1, 1), (1, 1)), 19),
        Case(1, (9, 8), (33, 33), (3, 3), None, ((2, 2), (1, 1)), 33, dilation=(2, 1)),
    )


@pytest.mark.parametrize("channels", [1024, 1027, 1045])
def test_more_channels_than_a_strip_has(channels):
    """A strip has 1024 channels; fewer than a vector join it."""
    sizes, pads = (channels, channels), ((1, 1), (1, 1))
    assert_exact(Case(1, (3, 5), sizes, (3, 3), None, pads, channels))


@pytest.mark.parametrize("stride", [1, 2])
def test_padding_has_the_bits_of_zeros_in_the_image(stride):
    cases = []
    for window in WINDOWS:
        pads = ((1, 1), (window // 2, window // 2))
        for width in (5, 12, 25):
            cases.append(Case(1, (6, width), (24, 24), (3, window), (1, stride), pads, 24))
    assert_padding_is_zeros(cases)


def test_infinite_weights_meet_the_padding():
    """Zero times infinity is NaN, as in the reference, at the edge alone."""
    one = Case(1, (3, 5), (3, 3), (1, 3), padding=((0, 0), (1, 1)), groups=3, residual=False,
               relu=False)  # fmt: skip
    x, kernel, scale, shift = normals(one)
    kernel[0, 0] = np.inf
    for isa, [(got, *_)] in on_every_isa(
        compiled_together([one], [[x, kernel, scale, shift]])
    ).items():
        assert np.isnan(got[:, :, 0]).all(), isa
        assert not np.isnan(got[:, :, 1:]).any(), isa


def test_programs_with_numbers_for_each_channel_go_vector_by_vector():
    """Numbers for each channel lie in slots, of which there is one a value."""
    x, kernel, *_ = normals(Case(1, (6, 13), (40, 40), (3, 3), None, ((1, 1), (1, 1)), 40))
    slope = np.linspace(-1, 2, 40, dtype=np.float32)

    def prelu(x):
        y = jax.lax.conv_general_dilated(
            x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=40, precision="highest",
        )  # fmt: skip
        return jax.numpy.where(y > 0, y, y * slope)

    expected = prelu(x)
    for isa, got in on_every_isa(lambda: np.asarray(jax.jit(fuse(prelu))(x))).items():
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5, err_msg=isa)


def test_programs_run_on_vectors_that_wait_for_each_other():
    """In slots for 24 vectors of AVX-512 or 12: those of one tile, of some, and of one too many."""
    cases, runs = [], []
    for width, channels in ((3, 101), (5, 80), (7, 64), (13, 33)):
        case = Case(2, (2, width), (channels, channels), (3, 3), None, ((1, 1), (1, 1)), channels)
        *arrays, tensor = integers(case)
        epilogue = compile_elementwise(lambda y, t: jnp.abs(y) - y * t, tensor.shape, "tensor")
        spec = case.spec(*arrays[:2], "highest")
        cases.append((case, arrays, tensor))
        runs.append(lambda a, t, s=spec, e=epilogue: affine_on_cpu(*a, t, spec=s, epilogue=e))
    program = jax.jit(lambda given: [f(a, t) for f, (a, t) in zip(runs, given, strict=True)])
    given = [(arrays, tensor) for _, arrays, tensor in cases]
    for isa, results in on_every_isa(lambda: jax.tree.leaves(program(given))).items():
        for (case, arrays, tensor), got in zip(cases, results, strict=True):
            acc = oracle.affine(case.convolve(*arrays[:2]), *arrays[2:], relu=False)
            expected = (np.abs(acc) - acc * tensor).astype(np.float32)
            assert_same_bits(np.asarray(got), expected, f"{case} on {isa}")
