"""Derivatives in every geometry, of inference and training, against float64 and differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agreement import assert_near, in_float64
from kernel_case import Case, integers, normals
from resfuse import reference
from resfuse.kernel.affine import affine_on_cpu
from resfuse.kernel.epilogue import ADD
from resfuse.kernel.train import train_on_cpu

CASES = {
    "one dimension": Case(2, (23,), (5, 7), (3,), (2,), ((4, 1),), dilation=(3,)),
    "transposed": Case(2, (5, 4), (6, 5), (4, 3), None, ((2, 2), (1, 0)), image_dilation=(2, 2)),
    "volume": Case(1, (4, 5, 6), (3, 9), (2, 3, 1), (1, 2, 1), ((1, 0), (-1, 1), (0, -2))),
    "groups": Case(2, (9, 7), (8, 8), (3, 3), None, ((2, 2), (2, 2)), 4, dilation=(2, 2)),
    "pixels that no tap meets": Case(2, (6,), (4, 3), (2,), None, ((0, 1),), image_dilation=(3,)),
}
EPSILON = 1e-3


def inference(case, implementation):
    """Of a case's spec and ReLU."""

    def function(x, kernel, scale, shift, residual):
        spec = case.spec(x, kernel)
        operands = (x, kernel, scale, shift, residual)
        if implementation == "ffi":
            return affine_on_cpu(*operands, spec=spec, epilogue=case.epilogue)
        y = reference.affine(x, kernel, scale, shift, spec=spec)
        return jax.nn.relu(y + residual)

    return function


def training(case, implementation):
    """With the statistics of the batch."""

    def function(x, kernel, scale, shift, residual):
        static = {"spec": case.spec(x, kernel), "epsilon": EPSILON, "ending": case.epilogue.gate}
        if implementation == "ffi":
            made, *statistics = train_on_cpu(x, kernel, scale, shift, residual, None, **static)
            return made.y, *statistics
        return reference.conv_bn_act_train(
            x, kernel, scale, shift, None, residual,
            spec=static["spec"], epsilon=EPSILON, activation=jax.nn.relu,
        )  # fmt: skip

    return function


def gradients(make, implementation):
    """Those of a loss that weighs each output in its own way, of all cases in one program."""

    def loss(case, *operands):
        outputs = jax.tree.leaves(make(case, implementation)(*operands))
        angles = (jnp.linspace(0, 3, y.size, dtype=y.dtype).reshape(y.shape) for y in outputs)
        return sum(jnp.sum(jnp.sin(y + a)) for y, a in zip(outputs, angles, strict=True))

    def all_of_them(operands):
        grad = jax.grad(loss, range(1, 6))
        return {name: grad(CASES[name], *each) for name, each in operands.items()}

    return jax.jit(all_of_them)


@pytest.mark.parametrize("make", [inference, training])
def test_gradients(make):
    operands = {name: normals(case) for name, case in CASES.items()}
    ours = gradients(make, "ffi")(operands)
    exact = in_float64(gradients(make, "xla"), operands)
    for name in CASES:
        for got, truth in zip(ours[name], exact[name], strict=True):
            assert_near(got, truth)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_differences(case):
    """Without ReLU, all is linear in each argument, so on integers differences are exact."""
    x, kernel, *_ = operands = integers(case)
    directions, cotangent = integers(case, seed=1), integers(case, seed=2)[-1]

    @jax.jit
    def function(*operands):
        return affine_on_cpu(*operands, spec=case.spec(x, kernel), epilogue=ADD)

    gradients = jax.vjp(function, *operands)[1](cotangent)
    for at, (gradient, direction) in enumerate(zip(gradients, directions, strict=True)):
        ahead, behind = (
            function(*operands[:at], operands[at] + step * direction, *operands[at + 1 :])
            for step in (1, -1)
        )
        assert product(gradient, direction) == product(ahead - behind, cotangent) / 2


def product(a, b):
    """The sum of products, which are whole multiples of 1/4, exactly."""
    return np.vdot(np.asarray(a, np.float64), np.asarray(b, np.float64))


def test_outputs_of_nothing_have_the_shift():
    """And its gradient counts them."""
    case = CASES["pixels that no tap meets"]
    x, kernel, scale, shift, residual = normals(case)
    y = affine_on_cpu(x, kernel, scale, shift, residual, spec=case.spec(x, kernel), epilogue=ADD)
    empty = np.asarray(case.convolve(np.ones_like(x), np.ones_like(kernel)))[0, :, 0] == 0
    assert empty.any()
    np.testing.assert_array_equal(y[:, empty], (shift + residual)[:, empty])
