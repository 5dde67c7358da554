"""What a function given to ``fuse`` may close over, and what becomes of it: all as ``jax.jit``."""

import copy
import functools
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

import agreement
import resfuse
from fuse_chains import KERNEL, A, X, conv, table
from two_devices import BATCH, mesh

K, S = np.asarray(KERNEL), np.asarray(A)


@jax.numpy_dtype_promotion("standard")
def network(x, kernel=KERNEL, scale=A):
    """The scale is read by a chain, where it is folded, and by XLA."""
    return jax.nn.relu(conv(x, jnp.asarray(kernel, x.dtype)) * scale) + jnp.sin(scale * x)


def closing_over(*weights):
    return lambda x: network(x, *weights)


def check(function, x=X):
    """Where and of what type ``jit`` has the result, and its numbers but for rounding."""
    got, expected = resfuse.fuse(function)(x), jax.jit(function)(x)
    assert (got.dtype, got.weak_type) == (expected.dtype, expected.weak_type)
    assert got.sharding.is_equivalent_to(expected.sharding, got.ndim)
    assert got.committed == expected.committed
    # Sums of 36 products, in another order.
    np.testing.assert_allclose(got, expected, rtol=0, atol=36 * agreement.EPSILON * abs(got).max())


HOST = {
    "NumPy": (K, S),
    "other order in memory": (np.asfortranarray(K), S[::-1]),
    "float64": (K.astype(np.float64), S.astype(np.float64)),
    "bfloat16": (K.astype(jnp.bfloat16), S.astype(jnp.bfloat16)),
    "integers": (K, np.arange(4)),
    "booleans": (K, np.arange(4) > 1),
    "a number of Python's": (K, 2.5),
    "a number of NumPy's": (K, np.float64(2.5)),
    "a number of JAX's": (K, jnp.asarray(2.5)),
}


@pytest.mark.parametrize("name", HOST)
def test_arrays_of_the_host(name):
    check(closing_over(*HOST[name]))


@pytest.mark.parametrize("dtype", [">f4", object])
@pytest.mark.parametrize("transform", [jax.jit, resfuse.fuse])
def test_what_jit_refuses_is_refused(transform, dtype):
    with pytest.raises(TypeError, match="ndarray"):
        transform(closing_over(K, S.astype(dtype)))(X)


def devices():
    first, second = jax.devices()[:2]
    put = jax.device_put
    return {
        "committed": (put(K, first), put(S, first)),
        "each elsewhere": (put(K, first), put(S, second)),
        "replicated": (put(K, NamedSharding(mesh(), P())), S),
        "sharded": (put(K, NamedSharding(mesh(), P(None, None, None, "batch"))), S),
    }


PLACES = {
    "anywhere": lambda: X,
    "on the other device": lambda: jax.device_put(X, jax.devices()[1]),
    "on both": lambda: jax.device_put(X, NamedSharding(mesh(), BATCH)),
}


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("committed", "on the other device"),
        ("committed", "on both"),
        ("each elsewhere", "anywhere"),
        ("replicated", "on the other device"),
        ("sharded", "anywhere"),
        ("sharded", "on both"),
    ],
)
def test_arrays_on_devices(name, place):
    check(closing_over(*devices()[name]), PLACES[place]())


def test_a_first_call_inside_jit_leaves_nothing_of_it_behind():
    zero, weights = jax.device_put(jnp.float32(0), jax.devices()[0]), devices()["committed"]
    fast = resfuse.fuse(lambda x: jnp.maximum(network(x, *weights), zero))
    agreement.assert_identical(jax.jit(fast)(X), fast(X))


KEYS = {
    "typed": lambda: jax.random.key(3, impl="rbg"),
    "typed and committed": lambda: jax.device_put(jax.random.key(3, impl="rbg"), jax.devices()[0]),
    "raw": lambda: jax.random.key_data(jax.random.key(3, impl="rbg")),
}


@pytest.mark.parametrize("name", KEYS)
def test_keys(name):
    key = KEYS[name]()

    def dropout(x):
        typed = key if "typed" in name else jax.random.wrap_key_data(key, impl="rbg")
        return jnp.where(jax.random.bernoulli(typed, 0.5, x.shape), network(x), 0)

    check(dropout)


def test_a_ref():
    ref = jax.new_ref(jnp.float32(2))

    def function(x):
        ref[...] += 1
        return network(x) * ref[...]

    fast = resfuse.fuse(function)
    fast(X)
    agreement.assert_identical(fast(X), jax.jit(resfuse.fuse(network))(X) * 4)


@pytest.mark.parametrize("inside", [lambda function: function, jax.jit], ids=["itself", "jit"])
def test_arrays_of_the_host_are_moved_once(inside):
    fast = resfuse.fuse(inside(closing_over(K, S)))
    first = fast(X)
    with jax.transfer_guard("disallow"):
        agreement.assert_identical(fast(X), first)


def test_changes_in_place_count_from_the_next_shapes_on():
    """For all that is computed of an array alike, packed or not."""
    kernel, scale = K.copy(), S.copy()
    fast = resfuse.fuse(closing_over(kernel, scale))
    first = fast(X)
    kernel *= -1
    scale += 1
    agreement.assert_identical(fast(X), first)
    agreement.assert_identical(fast(X[:1]), resfuse.fuse(closing_over(-K, S + 1))(X[:1]))


@pytest.mark.parametrize(
    "lose",
    [lambda array: array.delete(), jax.jit(jnp.negative, donate_argnums=0)],
    ids=["deleted", "donated"],
)
def test_arrays_that_are_gone(lose):
    kernel, scale = KERNEL.copy(), A.copy()
    fast = resfuse.fuse(closing_over(kernel, scale))
    first = fast(X)
    lose(kernel)
    lose(scale)
    agreement.assert_identical(fast(X), first)


def test_state_of_a_module_is_that_of_the_first_call():
    class Scaled(nnx.Module):
        def __init__(self):
            self.scale = nnx.Param(A)

        def __call__(self, x):
            return network(x, KERNEL, self.scale[...])

    model = Scaled()
    fast = resfuse.fuse(model)
    first = fast(X)
    model.scale[...] = 2 * A
    agreement.assert_identical(fast(X), first)
    agreement.assert_identical(resfuse.fuse(model)(X), resfuse.fuse(closing_over(K, 2 * S))(X))


class Model:
    def __init__(self, scale):
        self.scale = scale

    def __call__(self, x):
        return network(x, K, self.scale)

    @resfuse.fuse
    def method(self, x):
        return network(x, K, jnp.asarray(self.scale))


jax.tree_util.register_dataclass(Model, ["scale"], [])


@resfuse.fuse
def decorated(x):
    return network(x)


CALLABLES = {
    "function": network,
    "decorated": decorated,
    "partial": functools.partial(network, scale=S),
    "object": Model(S),
    "method": Model(S).__call__,
}


@functools.cache
def expected():
    return resfuse.fuse(network)(X)


@pytest.mark.parametrize("name", CALLABLES)
@pytest.mark.parametrize(
    "copied",
    [lambda f: pickle.loads(pickle.dumps(f)), copy.copy, copy.deepcopy],
    ids=["pickled", "copied", "deep copied"],
)
def test_copies(name, copied):
    function = CALLABLES[name]
    fast = function if name == "decorated" else resfuse.fuse(function)
    fast._programs["a program that is not copied"] = None
    again = copied(fast)
    assert (again is fast) == (name == "decorated")
    assert again is fast or not again._programs
    fast._programs.clear()


@pytest.mark.parametrize("name", CALLABLES)
def test_callables(name):
    fast = pickle.loads(pickle.dumps(resfuse.fuse(CALLABLES[name])))
    agreement.assert_identical(fast(X), expected())


def test_a_method(capsys):
    model = Model(A)
    agreement.assert_identical(model.method(X), expected())
    fused, _, _ = table(capsys, model.method, X)
    assert fused == ["scale+relu+add"]


def test_a_function_that_cannot_be_pickled_says_so():
    with pytest.raises((AttributeError, pickle.PicklingError), match="lambda"):
        pickle.dumps(resfuse.fuse(lambda x: x))
