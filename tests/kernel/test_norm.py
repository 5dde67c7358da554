"""The passes of batch norm against their formulas in float64, within bounds on their roundings."""

import jax
import numpy as np
import pytest

from kernel_case import assert_same_bits, on_every_isa
from oracle import EPSILON
from resfuse.kernel import batch_norm
from resfuse.kernel.gate import Gate
from resfuse.kernel.silu import SILU

# Around vectors of 4, 8 and 16 lanes; pixels around the 16 that are added up in floats, the 64 of
# the smallest block of sums and the 32 blocks; enough for several threads.
SHAPES = [
    *((2, 3, 3, channels) for channels in (1, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 515)),
    *((1, 1, pixels, 5) for pixels in (1, 15, 16, 17, 63, 64, 65, 2048, 2049)),
    (3, 41, 43, 20),
    (5, 28, 29, 67),
]
GATES = {
    "relu": Gate((("gt", 0.0),)),
    "clip": Gate((("gt", -0.5), ("lt", 1.0))),
    "leaky": Gate((("ge", 0.0),), 0.25),
}
# Of what is added up. Each bound has one rounding more than the longest path of operations, for
# the products of roundings; a sum of 16 has 15, and totals are in doubles.
NORMALIZE = 5 * EPSILON / 2
SUMS = (15 + 3 + 1) * EPSILON / 2
GRADIENT = 5 * EPSILON / 2
# What SiLU adds to these: its argument z has 3 roundings of its terms' size, the logistic function
# l 4 of its own, each product and sum one. The slopes of SiLU and of its derivative are below 1.1
# and 1/2, so z l and l (1 + z (1 - l)) are off by less than 10 of 1 and the size of z.
SILU_ERROR, SILU_SLOPE = 10 * EPSILON / 2, 1.1


def arrays(shape, ratio=0.0, seed=0):
    """By name; the means are ``ratio`` deviations from zero, and ``y`` has every kind of number."""
    random = np.random.default_rng(seed)
    images = {name: random.normal(size=shape) for name in ("conv", "d_y", "residual", "y")}
    channels = {name: random.normal(size=shape[-1:]) for name in ("mean", "a", "b", "d")}
    images["conv"] += ratio
    channels["mean"] += ratio
    images["y"] = np.maximum(images["y"], -1)
    for value in (np.nan, np.inf, -np.inf, -0.0, 0.0, -0.5, 1.0):
        images["y"][random.random(shape) < 0.05] = value
    return {name: array.astype(np.float32) for name, array in (images | channels).items()}


PASSES = (
    *("normalize", "normalize, residual", "normalize, relu", "normalize, residual, relu"),
    *("normalize, clip", "normalize, leaky", "sums", "sums, relu", "sums, clip", "sums, leaky"),
    *("gradient", "gradient, residual", "gradient, relu", "gradient, relu, residual"),
    *("gradient, clip, residual", "gradient, leaky, residual"),
    *("normalize, silu", "sums, silu", "gradient, silu"),
    *("normalize, again", "normalize, clip, again", "normalize, silu, again"),
)


def gate_in(name):
    return next((gate for gate in GATES if gate in name), None)


def gated(gate, value):
    """The gate's function in float64."""
    functions = {
        "relu": np.maximum(value, 0),
        "clip": np.clip(value, -0.5, 1),
        "leaky": np.where(value >= 0, value, value / 4),
    }
    return functions.get(gate, value)


def passed(gate, y, d_y):
    """What passes of a cotangent; nothing where ``y`` is NaN."""
    derivatives = {
        "relu": np.where(y > 0, d_y, 0),
        "clip": np.where((y > -0.5) & (y < 1), d_y, 0),
        "leaky": np.where(y >= 0, d_y, d_y / 4),
    }
    return derivatives.get(gate, d_y)


def passes(conv, d_y, residual, y, mean, a, b, d):
    """Each pass with all of its options, by name."""

    def run(name):
        if "silu" in name:
            return run_silu(name)
        gate, mask = GATES.get(gate_in(name), Gate()), (y,) if gate_in(name) else ()
        if "again" in name:
            return batch_norm.normalize_again(gate, conv, mean, a, d, y)
        if "normalize" in name:
            addend = (residual,) if "residual" in name else ()
            return batch_norm.normalize(gate, conv, mean, a, d, *addend)
        if "sums" in name:
            return batch_norm.norm_sums(gate, d_y, conv, mean, *mask)
        return batch_norm.norm_gradient(gate, "residual" in name, d_y, conv, mean, a, b, d, *mask)

    def run_silu(name):
        if "again" in name:
            return batch_norm.normalize_again(SILU, conv, mean, a, d, y)
        if "normalize" in name:
            return batch_norm.normalize(SILU, conv, mean, a, d)
        if "sums" in name:
            return batch_norm.norm_sums(SILU, d_y, conv, mean, a, d)
        return batch_norm.norm_gradient(SILU, False, d_y, conv, mean, a, b, d, a, d)

    return {name: run(name) for name in PASSES}


def exact(options, conv, d_y, residual, y, mean, a, b, d):
    """A pass's results in float64, each with the size of what it adds up."""
    conv, d_y, residual, mean, a, b, d = (
        array.astype(np.float64) for array in (conv, d_y, residual, mean, a, b, d)
    )
    deviation = conv - mean
    if "silu" in options:
        return exact_silu(options[0], deviation, d_y, a, b, d)
    gate = next(filter(GATES.get, options), None)
    g = passed(gate, y, d_y)
    if options[0] == "normalize":
        terms = [a * deviation, d, *([residual] if "residual" in options else [])]
        return [(gated(gate, sum(terms)), size_of(terms))]
    if options[0] == "sums":
        return [(t.sum((0, 1, 2)), np.abs(t).sum((0, 1, 2))) for t in (g, g * deviation)]
    terms = [a * g, b * deviation, d]
    return [(sum(terms), size_of(terms)), *([(g, 0 * g)] if "residual" in options else [])]


def exact_silu(name, deviation, d_y, a, b, d):
    """Likewise where SiLU follows."""
    z = a * deviation + d
    size, logistic = 1 + size_of([a * deviation, d]), 1 / (1 + np.exp(-z))
    if name == "normalize":
        return [(z * logistic, size)]
    g, size = d_y * logistic * (1 + z * (1 - logistic)), np.abs(d_y) * size
    if name == "sums":
        terms = [(g, size), (g * deviation, size * np.abs(deviation))]
        return [(term.sum((0, 1, 2)), bound.sum((0, 1, 2))) for term, bound in terms]
    return [(a * g + b * deviation + d, np.abs(a) * size + size_of([b * deviation, d]))]


def size_of(terms):
    return sum(np.abs(term) for term in terms)


BOUNDS = {"normalize": NORMALIZE, "sums": SUMS, "gradient": GRADIENT}


def bound(options):
    plain = BOUNDS[options[0]]
    return plain * SILU_SLOPE + SILU_ERROR if "silu" in options else plain


def assert_right(operands):
    call = jax.jit(passes)
    results = on_every_isa(lambda: jax.tree.map(np.asarray, call(**operands)))
    for isa, by_name in results.items():
        for name, got in by_name.items():
            options = name.split(", ")
            outputs = got if isinstance(got, tuple) else (got,)
            truth = exact(options, **operands)
            for ours, (value, size) in zip(outputs, truth, strict=True):
                assert ours.shape == value.shape, f"{name} on {isa}"
                error = np.abs(ours - value)
                assert (error <= bound(options) * size).all(), f"{name} on {isa}"
        for gate in ("", ", relu"):
            alone, (both, _) = by_name[f"gradient{gate}"][0], by_name[f"gradient{gate}, residual"]
            assert_same_bits(both, alone, f"gradient{gate} on {isa}")


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_right(shape):
    assert_right(arrays(shape))


@pytest.mark.parametrize("shape", [(2, 9, 8, 17), (4, 30, 31, 6)], ids=str)
def test_means_far_from_zero(shape):
    """A thousand deviations, where ``sum g * conv - mean * sum g`` would lose everything."""
    assert_right(arrays(shape, ratio=1000.0))


def test_sums_over_many_pixels():
    """Equal numbers, whose roundings all have one sign: 10,000 of them would leave the bound."""
    operands = arrays((2, 200, 201, 3))
    assert_right(operands | {"d_y": np.full_like(operands["d_y"], 0.1)})


@pytest.mark.parametrize("scale", [1e19, 1e21])
def test_sums_beyond_float32(scale):
    """Where the two images' sums overflow and cancel each other; in three channels not wholly."""
    operands = arrays((2, 9, 8, 17))
    for name in ("conv", "mean", "d_y"):
        operands[name] *= np.float32(scale)
    for name in ("conv", "y"):
        operands[name][1] = operands[name][0]
    operands["d_y"][1] = -operands["d_y"][0]
    operands["d_y"][1, -1, -1, :3] = 0
    operands["y"][:, -1, -1, :3] = 1
    call = jax.jit(passes)
    results = on_every_isa(lambda: jax.tree.map(np.asarray, call(**operands)))
    for isa, by_name in results.items():
        for name in ("sums", "sums, relu"):
            truth = exact(name.split(", "), **operands)
            for ours, (value, size) in zip(by_name[name], truth, strict=True):
                with np.errstate(over="ignore"):
                    expected = value.astype(np.float32)
                error = np.where(np.isinf(expected), ours != expected, np.abs(ours - value))
                assert (error <= SUMS * size).all(), f"{name} on {isa}"


def test_cotangents_where_relu_let_nothing_through_do_not_count():
    """Not even NaN: it is not multiplied by zero."""
    operands = arrays((2, 5, 6, 17))
    with_nan = operands | {"d_y": np.where(operands["y"] > 0, operands["d_y"], np.nan)}
    call = jax.jit(passes)
    for isa, (one, other) in on_every_isa(lambda: (call(**operands), call(**with_nan))).items():
        for name in ("sums, relu", "gradient, relu", "gradient, relu, residual"):
            for ours, theirs in zip(other[name], one[name], strict=True):
                assert_same_bits(np.asarray(ours), np.asarray(theirs), f"{name} on {isa}")


@pytest.mark.parametrize("gate", GATES)
def test_gates_by_their_argument(gate):
    """The same as by their value, of quarters: arguments are exact, some of them at the bounds."""
    random = np.random.default_rng(0)
    conv, d_y = (random.integers(-8, 8, (3, 29, 31, 37)).astype(np.float32) / 4 for _ in range(2))
    conv[0, 0, 0, 0] = np.nan
    mean, a, b, d = random.integers(-4, 4, (4, 37)).astype(np.float32) / 4
    z = a * (conv - mean) + d

    def run(*kept):
        by, arrays = GATES[gate], (d_y, conv, mean)
        sums = batch_norm.norm_sums(by, *arrays, *kept)
        return sums, batch_norm.norm_gradient(by, False, *arrays, a, b, d, *kept)

    value, argument = (jax.jit(lambda kept=kept: run(*kept)) for kept in ((z,), (a, d)))
    for isa, (ours, theirs) in on_every_isa(lambda: (argument(), value())).items():
        for one, other in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
            assert_same_bits(np.asarray(one), np.asarray(other), f"{gate} on {isa}")


def test_nan_passes_every_gate():
    """As in ``jax.nn.relu``."""
    operands = arrays((1, 3, 4, 9))
    operands["conv"][0, 1, 2, 3] = np.nan
    call = jax.jit(passes)
    for isa, results in on_every_isa(lambda: jax.tree.map(np.asarray, call(**operands))).items():
        for gate in GATES:
            y = results[f"normalize, {gate}"]
            assert np.argwhere(np.isnan(y)).tolist() == [[0, 1, 2, 3]], f"{gate} on {isa}"


@pytest.mark.parametrize("shape", [(0, 3, 3, 5), (2, 0, 3, 17)], ids=str)
def test_no_pixels(shape):
    """Sums of nothing are 0."""
    for isa, results in on_every_isa(lambda: jax.jit(passes)(**arrays(shape))).items():
        assert all(not np.any(total) for total in results["sums"] + results["sums, relu"]), isa
        assert results["normalize"].shape == results["gradient"][0].shape == shape
