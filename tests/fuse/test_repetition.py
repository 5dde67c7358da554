"""Calls like the one before need few checks; whatever is another is seen."""

import concurrent.futures
import contextlib
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, SingleDeviceSharding

import agreement
import resfuse
from fuse_chains import A, B, X, cast, conv
from resfuse import ffi
from resfuse.fusion import repetition
from resfuse.fusion.fuse import _Fused
from two_devices import BATCH, mesh


@cast
def network(x, scale=A):
    return jax.nn.relu(conv(x) * scale + B)


def counted(monkeypatch):
    """A list that gets an entry for each call that is asked everything."""
    asked = []
    found = _Fused._found_or_traced

    def counting(*args):
        asked.append(args)
        return found(*args)

    monkeypatch.setattr(_Fused, "_found_or_traced", counting)
    return asked


@pytest.mark.parametrize("args", [(X,), (X, A), (np.asarray(X), np.asarray(A)), (X, np.asarray(A))])
def test_like_calls_are_asked_little(monkeypatch, args):
    asked, fast = counted(monkeypatch), resfuse.fuse(network)
    first = fast(*args)
    for other in (args, [each + 0 for each in args]):
        agreement.assert_identical(fast(*other), first)
    assert len(asked) == 1


def with_key(x):
    return network(x) + jax.random.uniform(jax.random.key(0))


@pytest.mark.parametrize(
    ("function", "args", "kwargs"),
    [(network, (X,), {"scale": A}), (network, (X, 2.0), {}), (with_key, (X,), {}),
     (lambda xs: network(xs[0]), ([X],), {})],
    ids=["by name", "a number", "a key", "a list"],
)  # fmt: skip
def test_others_are_asked_everything(monkeypatch, function, args, kwargs):
    asked, fast = counted(monkeypatch), resfuse.fuse(function)
    for _ in range(2):
        fast(*args, **kwargs)
    assert len(asked) == 2


def on(sharding):
    return lambda fast: fast(jax.device_put(X, sharding()))


def within(context, *args):
    def call(fast):
        with context():
            return fast(X, *args)

    return call


@contextlib.contextmanager
def on_isa():
    before = ffi.isa()
    try:
        ffi.force_isa("generic")
        yield
    finally:
        ffi.force_isa(before)


@contextlib.contextmanager
def on_mesh():
    with jax.set_mesh(mesh(AxisType.Auto)):
        yield


OTHERS = {
    "other images": lambda fast: fast(X[:1]),
    "of another type": lambda fast: fast(X.astype(jnp.float16)),
    "one array more": lambda fast: fast(X, B),
    "an array by name": lambda fast: fast(X, scale=B),
    "NumPy's": lambda fast: fast(np.asarray(X)),
    "twice as many numbers": within(functools.partial(jax.enable_x64, True)),
    "precision": within(functools.partial(jax.default_matmul_precision, "highest")),
    "another instruction set": within(on_isa),
    "a mesh": within(on_mesh),
    "no jit": within(jax.disable_jit),
    "another device": on(lambda: SingleDeviceSharding(jax.devices()[1])),
    "two devices": on(lambda: NamedSharding(mesh(), BATCH)),
    "jit": lambda fast: jax.jit(fast)(X),
    "jit around": lambda fast: jax.jit(lambda y: fast(X) + y)(jnp.zeros(())),
    "vmap": lambda fast: jax.vmap(fast)(X[None]),
    "grad": lambda fast: jax.grad(lambda x: fast(x).sum())(X),
    "grad around": lambda fast: jax.grad(lambda y: (fast(X) * y).sum())(1.0),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_another_is_seen(name):
    """The result is that of a function that was not called before, and so is where it lies."""
    other, fast = OTHERS[name], resfuse.fuse(network)
    first = fast(X)
    got, expected = other(fast), other(resfuse.fuse(network))
    agreement.assert_identical(got, expected)
    assert got.sharding.is_equivalent_to(expected.sharding, got.ndim)
    agreement.assert_identical(fast(X), first)


def test_what_changes_often_is_asked_everything(monkeypatch):
    """To be refused costs more than to be asked."""
    refused, fast = [], resfuse.fuse(network)
    refuse = repetition.refuse_others

    def refusing(program):
        try:
            refuse(program)
        except repetition.UnlikeError:
            refused.append(program)
            raise

    monkeypatch.setattr("resfuse.fusion.program.refuse_others", refusing)
    first = fast(X)
    for x in (X[:1], X) * 10:
        fast(x)
    assert not refused
    for _ in range(20):
        with jax.default_matmul_precision("highest"):
            fast(X)
        agreement.assert_identical(fast(X), first)
    assert 0 < len(refused) < 6


def test_nothing_runs_where_it_is_only_traced():
    """Of other platforms it is not the kernel."""
    fast = resfuse.fuse(network)
    fast(X)
    exported = jax.export.export(jax.jit(lambda: fast(X)), platforms=["tpu"])()
    assert "custom_call" not in exported.mlir_module()


def test_a_deleted_array_is_an_error():
    fast, x = resfuse.fuse(network), X + 0
    fast(x)
    x.delete()
    with pytest.raises(RuntimeError, match="deleted"):
        fast(x)


def test_threads_of_unlike_calls():
    """Whichever call was the last, each has its own result."""
    fast = resfuse.fuse(network)
    args = [X, X[:1], X[:, :3], X[:, :, :2]]
    expected = [fast(x) for x in args]

    def calls(place):
        return [np.array_equal(fast(args[place]), expected[place]) for _ in range(50)]

    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        assert all(map(all, threads.map(calls, range(4))))
