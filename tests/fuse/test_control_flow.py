"""``fuse`` through control flow, and through functions with derivative rules of their own."""

import jax
import jax.numpy as jnp
import pytest
from jax import lax
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

import agreement
import resfuse
from fuse_chains import KERNEL, A, B, X, cast, conv, loss
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


@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients(name):
    function = cast(CASES[name])
    differentiable = name != "while"

    def both(function):
        gradient = jax.grad(loss(function)) if differentiable else function
        return jax.jit(lambda x: (function(x), gradient(x)))

    fast = resfuse.fuse(function)
    assert "stablehlo.convolution" not in jax.jit(fast).lower(X).as_text()
    plain = both(function)
    agreement.assert_as_accurate(both(fast)(X), plain(X), agreement.in_float64(plain, X))


@pytest.mark.parametrize("name", ["scan", "cond", "custom_vjp"])
def test_mapped(name):
    function = cast(CASES[name])
    x = jnp.stack([X, X[::-1] / 2])
    plain = jax.jit(jax.vmap(function))
    ours = jax.vmap(resfuse.fuse(function))(x)
    agreement.assert_as_accurate(ours, plain(x), agreement.in_float64(plain, x))


def test_an_effect_stays():
    seen = []

    def function(x):
        y = conv(x)
        jax.debug.callback(lambda total: seen.append(float(total)), y.sum())
        return y

    jax.block_until_ready(resfuse.fuse(function)(X))
    jax.effects_barrier()
    assert len(seen) == 1
