"""``fuse`` through control flow, and through functions with derivative rules of their own."""

import functools

import jax
import jax.numpy as jnp
import pytest
from jax import lax
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

import agreement
import resfuse
from fuse_chains import KERNEL, A, B, X, cast, conv, results
from two_devices import mesh


def block(x, kernel=KERNEL):
    return jax.nn.relu(conv(jax.nn.relu(conv(x, kernel) * A + B)) - B + x)


def scan(x):
    kernels = jnp.stack([KERNEL, KERNEL / 2])
    return lax.scan(lambda c, k: (block(conv(c, k.astype(c.dtype))), c.mean((0, 1, 2))), x, kernels)


def while_loop(x):
    def test(carry):
        return (carry[0] < 3) & (conv(carry[1]).sum() < 1e9)

    return lax.while_loop(test, lambda carry: (carry[0] + 1, block(carry[1])), (0, x))[1]


def cond(x):
    return lax.cond(x[0, 0, 0, 0] > 0, block, lambda x: conv(x) * 2, x)


def switch(x):
    return lax.switch(2, [lambda x: x, block, lambda x: conv(x) + A], x)


def remat(x):
    policy = jax.checkpoint_policies.dots_saveable
    return jax.checkpoint(block, policy=policy)(x) + jax.checkpoint(block)(x)


@jax.custom_jvp
def tripled(x):
    return block(x)


tripled.defjvp(lambda x, t: (tripled(*x), 3 * t[0]))


@jax.custom_vjp
def clipped(x, steps):
    return block(x), x * steps


clipped.defvjp(
    lambda x, steps: (clipped(x, steps), x),
    lambda x, cotangent: (cotangent[0].clip(-0.5, 0.5) * x, None),
)


def shared(x):
    """The same traced function twice."""
    function = jax.jit(block)
    return {"once": function(x), "twice": function(function(x)), "nothing": None}


def placed(x):
    """A call that says where its argument is."""
    return jax.jit(block, out_shardings=NamedSharding(mesh(), P()))(x) * 2


CASES = {
    "scan": scan,
    "while": while_loop,
    "cond": cond,
    "switch": switch,
    "remat": remat,
    "custom_jvp": tripled,
    "custom_vjp": lambda x: clipped(x, 2)[0],
    "jit": shared,
    "jit with shardings": placed,
    "scan of cond": lambda x: lax.scan(lambda c, _: (cond(c), None), x, length=2)[0],
}


CASES = {name: cast(function) for name, function in CASES.items()}
MAPPED = {name: CASES[name] for name in ("scan", "cond", "custom_vjp")}


@functools.cache
def compared(placed):
    """What names devices makes a program for all of them, so it has one of its own."""
    cases = {name: f for name, f in CASES.items() if (name == "jit with shardings") == placed}
    return results(cases, no_gradients=["while"])


@functools.cache
def compared_under_vmap():
    return results(MAPPED, jnp.stack([X, X[::-1] / 2]), jax.vmap, no_gradients=MAPPED)


@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients(name):
    found = compared(name == "jit with shardings")
    agreement.assert_near(*(each[name] for each in found))


@pytest.mark.parametrize("name", CASES)
def test_no_convolution_is_left(name):
    fast = resfuse.fuse(CASES[name])
    assert "stablehlo.convolution" not in jax.jit(fast).lower(X).as_text()


@pytest.mark.parametrize("name", MAPPED)
def test_mapped(name):
    agreement.assert_near(*(each[name] for each in compared_under_vmap()))


def test_an_effect_stays():
    seen = []

    def function(x):
        y = conv(x)
        jax.debug.callback(lambda total: seen.append(float(total)), y.sum())
        return y

    jax.block_until_ready(resfuse.fuse(function)(X))
    jax.effects_barrier()
    assert len(seen) == 1
