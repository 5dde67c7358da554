"""``fuse`` of convolutions drawn by chance: sizes, orders of axes, dilation, padding, groups."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import agreement
import resfuse
from fuse_chains import cast, loss
from sampling import some

CASES = 8  # of a seed, in one program
SEEDS = some(1, range(60))


def case(random):
    """``(x, kernel, function)`` of a convolution that has an output."""

    def draw(*choices):
        return int(random.choice(choices))

    def each(*choices):
        return [draw(*choices) for _ in range(rank)]

    def placed(spec, sizes):
        shape = [sizes[spec.index(axis)] for axis in range(rank + 2)]
        return agreement.on_device(random.normal(size=shape))

    rank, groups, batch_groups = draw(1, 2, 3), *random.permutation([draw(1, 2, 3), 1]).tolist()
    lhs, rhs, out = (tuple(random.permutation(rank + 2).tolist()) for _ in range(3))
    channels = draw(1, 2, 3)
    x = placed(lhs, [draw(1, 2) * batch_groups, channels * groups, *each(*range(4, 10))])
    features = draw(1, 2, 4) * groups * batch_groups
    kernel = placed(rhs, [features, channels, *each(1, 2, 3)])
    strides, dilation, window_dilation = each(1, 2, 3), each(1, 1, 2, 3), each(1, 1, 2)
    padding = [(draw(-1, 0, 1, 2, 3), draw(-1, 0, 1, 2)) for _ in range(rank)]
    config = [(0, 0, 0)] * (rank + 2)
    for axis in lhs[2:]:
        config[axis] = draw(-1, 0, 0, 1, 2), draw(0, 0, 1), draw(0, 0, 1)

    def function(x, kernel):
        x = lax.pad(x, jnp.zeros((), x.dtype), config)
        numbers = lax.ConvDimensionNumbers(lhs, rhs, out)
        return jax.nn.relu(
            lax.conv_general_dilated(
                x, kernel, strides, padding, dilation, window_dilation, numbers,
                groups, batch_groups,
            )
        )  # fmt: skip

    empty = 0 in jax.eval_shape(function, x, kernel).shape
    return case(random) if empty else (x, kernel, function)


def with_gradient(function):
    gradient = jax.grad(lambda x, kernel: loss(lambda x: function(x, kernel))(x), (0, 1))
    return cast(lambda x, kernel: (function(x, kernel), gradient(x, kernel)))


@pytest.mark.parametrize("seed", SEEDS)
def test_values_and_gradients(seed):
    random = np.random.default_rng(seed)
    *arrays, functions = zip(*(case(random) for _ in range(CASES)), strict=True)

    def together(fuse):
        fused = [fuse(with_gradient(function)) for function in functions]
        return jax.jit(lambda *arrays: [f(*pair) for f, *pair in zip(fused, *arrays, strict=True)])

    ours = together(resfuse.fuse)(*arrays)
    for each in zip(ours, agreement.in_float64(together(lambda f: f), *arrays), strict=True):
        agreement.assert_near(*each)
