"""Channels that end in a part of a vector, with each epilogue that is compiled into the tile."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import oracle
from agreement import EPSILON
from kernel_case import Case, integers, on_every_isa
from resfuse.kernel.affine import affine_on_cpu
from resfuse.kernel.epilogue import compile_elementwise
from sampling import long_but

# Vectors have 16, 8 or 4 channels, panels two of them.
CHANNELS = (1, 3, 5, 7, 9, 15, 17, 20, 24, 31, 33, 40, 47, 56, 72, 101)
SIZE = (5, 13)
# And which operands they have; of integers all but hard swish, SiLU and GELU is exact.
ENDINGS = {
    "nothing": (lambda y: y, ()),
    "relu": (jax.nn.relu, ()),
    "relu6": (jax.nn.relu6, ()),
    "add": (lambda y, t: y + t, ("tensor",)),
    "add, clip": (lambda y, t: jnp.clip(y + t, -7, 5), ("tensor",)),
    "hard swish": (jax.nn.hard_swish, ()),
    "silu": (jax.nn.silu, ()),
    "gelu": (functools.partial(jax.nn.gelu, approximate=False), ()),
    "gelu by tanh": (jax.nn.gelu, ()),
}
# Relatively, and of the largest accumulator. Hard swish rounds three products and a sixth. A
# logistic is off by 2 units in the last place, XLA's as well, and where it is not normal either may
# be zero; so may GELU's tail, in which XLA's is off by some hundred units (test_math.py). That by
# tanh is half of the accumulator times what XLA makes of 1 - 1 there.
CLOSE = (4 * EPSILON, 0.0)
TINY = float(np.finfo(np.float32).tiny)
TOLERANCES = {"silu": (5 * EPSILON, TINY), "gelu": (256 * EPSILON, 16 * TINY),
              "gelu by tanh": (8 * EPSILON, EPSILON)}  # fmt: skip


def cases():
    same = ((1, 1), (1, 1))
    for channels, batch in zip(CHANNELS, itertools.cycle((1, 2))):
        yield Case(batch, SIZE, (6, channels), (1, 1))
        yield Case(batch, SIZE, (channels, channels), (3, 3), None, same, channels)


@pytest.mark.parametrize("name", long_but(ENDINGS.keys() - {"gelu by tanh"}, ENDINGS))
def test_parts(name):
    ending, kinds = ENDINGS[name]
    relative, of_largest = TOLERANCES.get(name, CLOSE)

    def run(case, *operands):
        epilogue = compile_elementwise(ending, case.shapes[-1], *kinds)
        spec = case.spec(*operands[:2], "highest")
        return affine_on_cpu(*operands, spec=spec, epilogue=epilogue)

    given = [(case, integers(case)[: 4 + len(kinds)]) for case in cases()]
    program = jax.jit(lambda: [run(case, *operands) for case, operands in given])
    for isa, results in on_every_isa(program).items():
        for (case, (x, kernel, scale, shift, *more)), got in zip(given, results, strict=True):
            acc = oracle.affine(case.convolve(x, kernel), scale, shift, relu=False)
            expected = np.asarray(ending(jnp.float32(acc), *more))
            absolute = of_largest * np.abs(acc).max()
            np.testing.assert_allclose(
                got, expected, relative, absolute, err_msg=f"{case} on {isa}"
            )
