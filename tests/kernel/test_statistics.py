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
        1e6 + random.normal(size=size),
        -1e7 + random.normal(size=size),
        outlier,
        np.linspace(0, 1000, normal.size).reshape(size),
        np.full(size, 0.1),
        np.full(size, -12345.678),
        np.zeros(size),
        1e-12 * normal,
    ]
    return np.stack(channels, -1)[None].astype(np.float32)


def through_the_kernel(x, groups=1, width=1):
    """``{isa: (mean, var)}`` of the channels of ``x``, which a convolution with 1 leaves alone."""
    channels = x.shape[-1]
    pads = ((0, 0), (width // 2,) * 2)
    case = Case(
        1, x.shape[1:3], (channels,) * 2, (1, width), padding=pads, groups=groups, residual=False
    )
    one, zero = np.ones(channels, np.float32), np.zeros(channels, np.float32)
    kernel = np.zeros((1, width, channels // groups, channels), np.float32)
    kernel[0, width // 2] = 1 if groups > 1 else np.eye(channels)
    results = on_every_isa(compiled(case, [x, kernel, one, zero]))
    for _, conv, *_ in results.values():
        np.testing.assert_array_equal(conv, x)
    return {isa: statistics for isa, (_, _, *statistics) in results.items()}


def errors(got, truth):
    return [np.abs(ours.astype(np.float64) - exact) for ours, exact in zip(got, truth, strict=True)]


def depthwise(x):
    """Images for which depthwise tiles gather statistics, of whole vectors, in registers."""
    x = x[..., np.arange(32) % x.shape[-1]]
    return {"x": x, "groups": 32, "width": 3}


BOTH = pytest.mark.parametrize("layer", [lambda x: {"x": x}, depthwise], ids=["1x1", "depthwise"])


@BOTH
@pytest.mark.parametrize("size", SIZES)
def test_hard_channels(size, layer):
    """Within the bound on the roundings of a group; the variance never negative."""
    layer = layer(hard_channels(size, np.random.default_rng(0)))
    truth, tolerances = oracle.statistics(layer["x"]), oracle.statistics_tolerance(layer["x"])
    for isa, statistics in through_the_kernel(**layer).items():
        for error, tolerance in zip(errors(statistics, truth), tolerances, strict=True):
            np.testing.assert_array_less(error, np.nextafter(tolerance, np.inf), err_msg=isa)
        assert (statistics[1] >= 0).all(), isa


@pytest.mark.parametrize("size", SIZES)
def test_at_least_as_accurate_as_flax(size):
    x = hard_channels(size, np.random.default_rng(1))
    truth = oracle.statistics(x)
    flax = errors(map(np.asarray, reference.batch_statistics(x)), truth)
    rounding = ROUNDINGS * oracle.EPSILON * np.abs(x).max((0, 1, 2)).astype(np.float64)
    for isa, statistics in through_the_kernel(x).items():
        ours, relative = errors(statistics, truth), ROUNDINGS * oracle.EPSILON
        assert (ours[0] <= flax[0] + rounding).all(), isa
        assert (ours[1] <= flax[1] + relative * truth[1]).all(), isa


def test_constants_have_no_variance():
    values = np.array([0, 0.1, -12345.678, 1e-30, 3e38], np.float32)
    x = np.broadcast_to(values, (1, 33, 47, len(values)))
    for isa, (mean, var) in through_the_kernel(x).items():
        np.testing.assert_array_equal(mean, values, isa)
        np.testing.assert_array_equal(var, 0, isa)


@BOTH
@pytest.mark.parametrize("size", [(1, 2), (3, 4), (33, 47)])
def test_sums_beyond_float32(size, layer):
    """Where sums and squares overflow, and the statistics themselves do or do not."""
    random = np.random.default_rng(2)
    normal = np.clip(random.normal(size=size), -3, 3)
    signs = np.resize([1, -1], size)
    channels = [scale * normal for scale in (1e18, 1e19, 1e20, 1e30, 1e38)]
    channels += [3e38 * signs, 3e38 + 1e32 * signs, np.full(size, 3e38) * (normal == normal[0, 0])]
    layer = layer(np.stack(channels, -1)[None].astype(np.float32))
    truth, tolerances = oracle.statistics(layer["x"]), oracle.statistics_tolerance(layer["x"])
    with np.errstate(over="ignore"):
        infinite = [np.isinf(exact.astype(np.float32)) for exact in truth]
    for isa, statistics in through_the_kernel(**layer).items():
        for got, exact, bound, inf in zip(statistics, truth, tolerances, infinite, strict=True):
            np.testing.assert_array_equal(got[inf], np.inf, isa)
            assert (np.abs(got - exact)[~inf] <= bound[~inf]).all(), isa


@pytest.mark.parametrize("at", [(0, 0), (0, 5), (32, 46)])
def test_not_finite_numbers_are_seen_in_their_channel_alone(at):
    """As in float64: infinity has an infinite mean, and a variance that is not a number."""
    x = np.random.default_rng(3).normal(size=(1, 33, 47, 5)).astype(np.float32)
    x[0, *at, :4] = np.nan, np.inf, -np.inf, np.inf
    x[0, 7, 7, 3] = -np.inf
    with np.errstate(invalid="ignore"):
        mean, variance = oracle.statistics(x)
    for isa, statistics in through_the_kernel(x, groups=5).items():
        for got, exact in zip(statistics, (mean, variance), strict=True):
            np.testing.assert_array_equal(got[:4], exact[:4].astype(np.float32), isa)
            assert np.isfinite(got[4]), isa
