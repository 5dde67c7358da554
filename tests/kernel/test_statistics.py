"""Mean and variance of each channel against float64, and against Flax's fast variance."""

import numpy as np
import pytest

import oracle
from kernel_case import Case, compiled, on_every_isa
from resfuse import reference

ROUNDINGS = 16  # of a result that is otherwise the float nearest to the truth
# Around a tile, a block of eight tiles, and sixteen blocks.
SIZES = [(1, 1), (1, 2), (3, 4), (1, 13), (8, 12), (1, 97), (33, 47), (112, 113)]


def hard_channels(size, random):
    """One channel for each thing that is hard."""
    normal = random.normal(size=size)
    outlier = random.normal(size=size)
    outlier[-1, -1] = 1e4
    channels = [
        normal,
        1000 + random.normal(size=size),
        -1 + 0.001 * random.normal(size=size),
        1e6 + 1000 * random.normal(size=size),
        outlier,
        np.linspace(0, 1000, normal.size).reshape(size),
        np.full(size, 0.1),
        np.full(size, -12345.678),
        np.zeros(size),
        1e-12 * normal,
    ]
    return np.stack(channels, -1)[None].astype(np.float32)


def through_the_kernel(x):
    """``{isa: (mean, var)}`` of the channels of ``x``, which a convolution with 1 leaves alone."""
    channels = x.shape[-1]
    case = Case(1, x.shape[1:3], (channels, channels), (1, 1), residual=False)
    one, zero = np.ones(channels, np.float32), np.zeros(channels, np.float32)
    kernel = np.eye(channels, dtype=np.float32)[None, None]
    results = on_every_isa(compiled(case, [x, kernel, one, zero]))
    for _, conv, *_ in results.values():
        np.testing.assert_array_equal(conv, x)
    return {isa: statistics for isa, (_, _, *statistics) in results.items()}


def errors(got, truth):
    return [np.abs(ours.astype(np.float64) - exact) for ours, exact in zip(got, truth, strict=True)]


@pytest.mark.parametrize("size", SIZES)
def test_hard_channels(size):
    """Within the bound on the roundings of a tile; the variance never negative."""
    x = hard_channels(size, np.random.default_rng(0))
    truth, tolerances = oracle.statistics(x), oracle.statistics_tolerance(x)
    for isa, statistics in through_the_kernel(x).items():
        for error, tolerance in zip(errors(statistics, truth), tolerances, strict=True):
            np.testing.assert_array_less(error, np.nextafter(tolerance, np.inf), err_msg=isa)
        assert (statistics[1] >= 0).all(), isa


@pytest.mark.parametrize("size", SIZES)
def test_at_least_as_accurate_as_flax(size):
    x = hard_channels(size, np.random.default_rng(1))
    truth = oracle.statistics(x)
    flax = errors(map(np.asarray, reference.batch_statistics(x)), truth)
    # A constant whose sums are not exact leaves the square of a rounding as its variance.
    rounding = ROUNDINGS * oracle.EPSILON * np.abs(x).max((0, 1, 2)).astype(np.float64)
    for isa, statistics in through_the_kernel(x).items():
        ours, relative = errors(statistics, truth), ROUNDINGS * oracle.EPSILON
        assert (ours[0] <= flax[0] + rounding).all(), isa
        assert (ours[1] <= flax[1] + relative * truth[1] + rounding**2).all(), isa
