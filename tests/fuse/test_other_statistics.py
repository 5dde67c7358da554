"""``fuse`` on what is much like batch norm with the statistics of the batch, and is not."""

import jax
import jax.numpy as jnp
import pytest
from jax import lax

import agreement
from batch_norms import OTHER, batch_norm, fast, norm
from fuse_chains import A, B, X, cast, conv, halved, table
from sampling import long_but

MASK = jnp.arange(6 * 5).reshape(6, 5, 1) % 3 > 0


def with_statistics(statistics, **options):
    def function(x):
        y = conv(x)
        return norm(y, *statistics(y), **options)

    return function


def of_part(y):
    return fast(y[:1])


def weighted(y):
    weights = jnp.where(MASK, 1.0, 0.0).astype(y.dtype)
    mean = (y * weights).sum((0, 1, 2)) / (2 * weights.sum())
    return mean, ((y - mean) ** 2 * weights).sum((0, 1, 2)) / (2 * weights.sum())


def of_another(x):
    return norm(conv(x), *fast(conv(x, OTHER)))


def mean_of_another(x):
    y = conv(x)
    return norm(y, conv(x, OTHER).mean((0, 1, 2)), fast(y)[1])


def variance_of_another(x):
    y = conv(x)
    return norm(y, fast(y)[0], fast(conv(x, OTHER))[1])


def needed_itself(x):
    y = conv(x)
    return batch_norm(y), y


def normalised_twice(x):
    y = conv(x)
    return batch_norm(y), norm(y, *fast(y), epsilon=1e-2)


def residual_from_statistics(x):
    y = conv(x)
    mean, var = fast(y)
    return norm(y, mean, var) + x * mean


def running_averages(x):
    """As Equinox does in one of its modes."""
    y = conv(x)
    mean, var = fast(y)
    return norm(y, 0.9 * B + 0.1 * mean, 0.9 * A + 0.1 * var)


def transposed(x):
    y = conv(x[:, :5])
    mean = y.mean((0, 1, 2))
    return norm(y, mean, (y * y.transpose(0, 2, 1, 3)).mean((0, 1, 2)) - mean**2, epsilon=1)


def each_other(x):
    """Each one's residual depends on the other's mean: only one can be a single call."""
    y, z = conv(x), conv(x, OTHER)
    (mean_y, var_y), (mean_z, var_z) = fast(y), fast(z)
    return norm(y, mean_y, var_y) + x * mean_z, norm(z, mean_z, var_z) + x * mean_y


# How many batch norms are found.
NOT_FOUND = {
    "over other axes": (with_statistics(lambda y: fast(y, (0, 1))), 0),
    "of each image": (with_statistics(lambda y: fast(y, (1, 2), keepdims=True)), 0),
    "over channels": (with_statistics(lambda y: fast(y, (3,), keepdims=True)), 0),
    "over everything": (with_statistics(lambda y: fast(y, None)), 0),
    "where": (with_statistics(lambda y: fast(y, where=MASK)), 0),
    "weighted": (with_statistics(weighted), 0),
    "of a part": (with_statistics(of_part), 0),
    "of another": (of_another, 0),
    "mean of another": (mean_of_another, 0),
    "variance of another": (variance_of_another, 0),
    "unbiased": (with_statistics(lambda y: (y.mean((0, 1, 2)), y.var((0, 1, 2), ddof=1))), 0),
    "mean square": (with_statistics(lambda y: (fast(y)[0], (y * y).mean((0, 1, 2)))), 0),
    "moved mean": (with_statistics(lambda y: (fast(y)[0] + 1, fast(y)[1])), 0),
    "constant statistics": (
        with_statistics(lambda y: jax.tree.map(lax.stop_gradient, fast(y))), 0),
    "epsilon for each channel": (lambda x: with_statistics(fast, epsilon=B)(x), 0),
    "epsilon that is computed": (lambda x: with_statistics(fast, epsilon=x[0, 0, 0, 0] ** 2)(x), 0),
    "epsilon outside": (
        with_statistics(lambda y: (y.mean((0, 1, 2)), (y.std((0, 1, 2)) + 1e-5) ** 2), epsilon=0), 0
    ),
    "after relu": (lambda x: batch_norm(jax.nn.relu(conv(x))), 0),
    "after scale": (lambda x: batch_norm(conv(x) * A), 0),
    "needed itself": (needed_itself, 0),
    "normalised twice": (normalised_twice, 0),
    "residual from the statistics": (residual_from_statistics, 1),
    "running averages": (running_averages, 0),
    "transposed": (transposed, 0),
    "each other": (each_other, 1),
    "one pixel": (lambda x: batch_norm(conv(x[:1, :1, :1])), 0),
}  # fmt: skip

CASES = {name: cast(function) for name, (function, _) in NOT_FOUND.items()}


KEPT, compared = halved(CASES)


@pytest.mark.parametrize("name", long_but(KEPT, CASES))
def test_values_and_gradients(name):
    agreement.assert_near(*compared(name))


@pytest.mark.parametrize("name", NOT_FOUND)
def test_is_not_found(name, capsys):
    found, _, _ = table(capsys, CASES[name], X)
    assert sum("bn(batch)" in parts for parts in found) == NOT_FOUND[name][1]
