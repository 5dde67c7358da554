"""``fuse`` itself: what it keeps and shares, what it composes with, and its errors."""

import dataclasses
import functools
import math
import re
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export
from jax.sharding import NamedSharding

import agreement
import resfuse
from fuse_chains import KERNEL, A, B, X, cast, conv, loss, table
from resfuse import ffi
from resfuse.fusion import prepare
from resfuse.fusion.repetition import compiling
from resfuse.purpose import Purpose
from two_devices import BATCH, mesh


@cast
def network(x, kernel=KERNEL, scale=A):
    y = jax.nn.relu(conv(x, kernel) * scale + B)
    return jax.nn.relu(conv(y, kernel) * scale + B + x)


def check(got, function, *args):
    """``got`` against ``function(*args)`` in float64."""
    key = function, *(np.asarray(arg).tobytes() for arg in args)
    if key not in _EXPECTED:
        _EXPECTED[key] = agreement.in_float64(jax.jit(function), *args)
    agreement.assert_near(got, _EXPECTED[key])


_EXPECTED = {}  # as compiling takes long, and most ask for the same


def counting(monkeypatch, module, name):
    """A list that grows by each call's argument."""
    calls, function = [], getattr(module, name)
    monkeypatch.setattr(module, name, lambda arg: (calls.append(arg), function(arg))[1])
    return calls


def test_nested_pytrees_and_names():
    @resfuse.fuse
    def function(batch, *, scale):
        """Says so."""
        return {"y": (network(batch["x"], scale=scale), None), "n": batch["n"] + 1, "static": 3}

    got = function({"x": X, "n": jnp.arange(3)}, scale=A)
    check(got["y"][0], network, X)
    assert got["n"].tolist() == [1, 2, 3]
    assert (got["y"][1], got["static"].weak_type) == (None, True)
    assert (function.__name__, function.__doc__) == ("function", "Says so.")


def test_results_have_the_types_of_the_function():
    def function(x, key):
        return conv(x) * 1, x.sum(), jnp.sin(1.0), jax.random.split(key), 2, conv(X).mean()

    args = (jnp.full(X.shape, 2.0), jax.random.key(0))
    ours, theirs = resfuse.fuse(function)(*args), jax.jit(function)(*args)
    assert jax.tree.map(jax.typeof, ours) == jax.tree.map(jax.typeof, theirs)
    weak = lambda x: conv(x * 2, jnp.full(KERNEL.shape, 0.5)) + 1  # noqa: E731
    x = jax.jit(lambda: jax.lax.full(X.shape, 1.0))()
    assert jax.typeof(resfuse.fuse(weak)(x)) == jax.typeof(jax.jit(weak)(x))


def test_without_convolutions_the_function_is_the_same():
    def function(x, flag):
        return jnp.where(flag, jnp.tanh(x) @ x.T, 0), jax.nn.relu(x)

    args = X[0, 0], True
    agreement.assert_identical(resfuse.fuse(function)(*args), jax.jit(function)(*args))


def test_weights_are_packed_once_for_all_shapes(monkeypatch):
    packed = counting(monkeypatch, prepare, "_packed")
    fast = resfuse.fuse(network)
    y = fast(X)
    check(y, network, X)
    agreement.assert_identical(fast(X), y)
    # Both layers add 36 products, for one image perhaps in another order.
    np.testing.assert_allclose(
        fast(X[:1]), y[:1], rtol=0, atol=2 * 36 * agreement.EPSILON * y.max()
    )
    jax.jit(fast)(X[:, :2])
    jax.vmap(fast)(X[None])
    assert [len(chains) for chains in packed if chains] == [1]  # one kernel, for both layers


def test_closed_over_arrays_are_those_of_the_first_call():
    weights = {"scale": A}
    fast = resfuse.fuse(lambda x: network(x, scale=weights["scale"]))
    first = fast(X)
    weights["scale"] = 2 * A
    agreement.assert_identical(fast(X), first)


def test_arguments_may_change_between_calls():
    fast = resfuse.fuse(network)
    check(fast(X, KERNEL, A), network, X)
    check(fast(X, KERNEL[::-1], -A), network, X, KERNEL[::-1], -A)


def test_only_small_arrays_are_constants_in_the_program():
    """And not those whose numbers are all the same. What convolutions read is one argument."""
    random = np.random.default_rng(0)
    kernel = random.standard_normal((1, 1, X.shape[-1], 128), np.float32)
    small, large = (random.standard_normal(n, np.float32) for n in (128, (128, 1, 1, 1, 128)))

    def function(x):
        y = jnp.sort(conv(x, kernel))  # what follows is XLA's
        return jnp.sort(y * small) + jnp.sort(y + np.ones(128, np.float32)) + large

    fast = resfuse.fuse(function)
    fast(X)
    (program,) = fast._programs.values()
    with compiling(program):
        text = program._running.lower(*program._arrays(Purpose.RUNNING), X).as_text()
    constants = re.findall(r"dense<\W[^>]*> : tensor<([\dx]*)xf32>", text)
    assert max(math.prod(map(int, shape.split("x"))) for shape in constants) == small.size
    uniform, weights, other = sorted(map(np.shape, program._arrays(Purpose.RUNNING)), key=len)
    rows = 128 // weights[-1] * (X.shape[-1] + 2)  # of the kernel, the scale and the shift
    assert (uniform, weights[0], other) == ((128,), rows, large.shape)


def test_closed_over_tracers():
    def inside(fuse):
        """Of ``jit``, and of ``grad``."""

        def gradient(x, kernel):
            function = lambda kernel: fuse(lambda x: network(x, kernel))  # noqa: E731
            return function(kernel)(x), jax.grad(lambda kernel: loss(function(kernel))(x))(kernel)

        return jax.jit(gradient)

    check(inside(resfuse.fuse)(X, KERNEL), inside(lambda function: function), X, KERNEL)


@pytest.mark.parametrize("transform", [jax.jit, jax.vmap, jax.checkpoint, resfuse.fuse])
def test_composes(transform):
    x = X[None] if transform is jax.vmap else X
    check(transform(resfuse.fuse(network))(x).reshape(X.shape), network, X)


def test_gradients_by_everything():
    def gradient(function):
        return jax.grad(lambda *args: loss(lambda x: function(x, *args[1:]))(args[0]), (0, 1, 2))

    check(gradient(resfuse.fuse(network))(X, KERNEL, A), gradient(network), X, KERNEL, A)
    mapped = jax.vmap(gradient(network), (0, None, None))
    check(jax.vmap(gradient(resfuse.fuse(network)), (0, None, None))(X[:, None], KERNEL, A),
          mapped, X[:, None], KERNEL, A)  # fmt: skip


def test_convolutions_of_gradients_are_not_in_functions_of_the_program():
    """Where XLA would not bring them to the order of axes that it is fast in."""
    preset = jax.lax.DotAlgorithmPreset.F32_F32_F32  # which the kernel does not take
    function = lambda x: network(conv(x, precision=preset))  # noqa: E731
    gradient = jax.jit(jax.grad(loss(resfuse.fuse(function))))
    main, *functions = gradient.lower(X).as_text().split("func.func private")
    assert "stablehlo.convolution" in main
    assert not any("stablehlo.convolution" in function for function in functions)


@pytest.mark.parametrize(
    "transform", [lambda f: jax.jvp(f, (X,), (X,)), lambda f: jax.jacfwd(f)(X)]
)
def test_forward_mode_is_refused_by_name(transform):
    with pytest.raises(TypeError, match="resfuse's kernel cannot be differentiated in forward"):
        transform(resfuse.fuse(network))


@pytest.mark.parametrize("flag", [True, "train", jax.nn.relu], ids=["bool", "str", "function"])
def test_no_argument_is_static(flag):
    def function(x, which):
        return conv(x) if which else x

    with pytest.raises(TypeError, match="which") as raised:
        resfuse.fuse(function)(X, flag)
    assert any("functools.partial" in note for note in raised.value.__notes__)
    check(resfuse.fuse(functools.partial(function, which=flag))(X), conv, X)


@pytest.mark.parametrize("outer", [jax.jit, lambda function: function], ids=["jit", "eager"])
def test_a_batch_on_two_devices(outer):
    x = jax.device_put(jnp.concatenate([X, X]), NamedSharding(mesh(), BATCH))
    kernel = jax.device_put(KERNEL, jax.devices()[0])  # where it is must not matter
    y = outer(resfuse.fuse(lambda x: network(x, kernel)))(x)
    assert {shard.data.shape[0] for shard in y.addressable_shards} == {2}
    check(jnp.asarray(y.addressable_data(0)), network, X)


def test_parts_under_shard_map():
    fast = jax.shard_map(resfuse.fuse(network), mesh=mesh(), in_specs=BATCH, out_specs=BATCH)
    check(jax.device_get(jax.jit(fast)(X)), network, X)


def test_axis_names():
    def function(x):
        return jax.lax.psum(conv(x[None])[0], "images")

    fast = resfuse.fuse(function)
    for x in (X, jnp.concatenate([X, X])):
        check(jax.vmap(fast, axis_name="images")(x), jax.vmap(function, axis_name="images"), x)


@pytest.mark.parametrize("platforms", [["cpu"], ["cpu", "cuda"], ["tpu"]], ids=str)
def test_export(platforms):
    allowed = [export.DisabledSafetyCheck.custom_call("resfuse_conv_affine")]
    program = export.export(
        jax.jit(resfuse.fuse(network)), platforms=platforms, disabled_checks=allowed
    )(X)
    assert ("custom_call @resfuse_conv_affine" in program.mlir_module()) == ("cpu" in platforms)
    if "cpu" in platforms:
        loaded = export.deserialize(program.serialize())
        check(jax.jit(loaded.call)(X), network, X)


def test_threads_share_one_program(monkeypatch):
    packed = counting(monkeypatch, prepare, "_packed")
    fast, results = resfuse.fuse(network), []
    threads = [threading.Thread(target=lambda: results.append(fast(X))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(packed) == 1
    for result in results:
        agreement.assert_identical(result, results[0])


def test_each_instruction_set_has_weights_of_its_own():
    fast, before = resfuse.fuse(network), ffi.isa()
    try:
        for name in ffi.isas():
            ffi.force_isa(name)
            check(fast(X), network, X)
    finally:
        ffi.force_isa(before)


@functools.partial(jax.tree_util.register_dataclass, data_fields=["kernel"], meta_fields=[])
@dataclasses.dataclass
class Model:
    kernel: jax.Array

    @resfuse.fuse
    def __call__(self, x):
        return network(x, self.kernel)


def test_as_a_method():
    check(Model(KERNEL)(X), network, X)


@pytest.mark.parametrize("stride", [2, 2**16, 2**31 - 1, 2**31, 2**32 + 1, 2**63 - 1])
def test_max_pool(stride):
    """Beyond 2**31 the kernel does not count, and XLA pools."""

    def pool(x):
        windows = (1, 3, 2, 1), (1, stride, 1, 1), ((0, 0), (1, 1), (0, 1), (0, 0))
        return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, *windows)

    fast = resfuse.fuse(pool)
    taken = "resfuse_max_pool" in jax.jit(fast).lower(X).as_text()
    assert taken == (stride <= 2**31)
    agreement.assert_identical(fast(X), pool(X))


@pytest.mark.parametrize("call", [resfuse.fuse, resfuse.explain])
def test_what_is_no_function(call):
    with pytest.raises(TypeError, match="takes a function, got int"):
        call(3)


@pytest.mark.parametrize("call", [lambda f, *a: resfuse.fuse(f)(*a), resfuse.explain])
def test_an_argument_that_is_no_array_is_named(call):
    with pytest.raises(TypeError, match=r"'str'.*at path batch"):
        call(lambda x, batch: x + batch, X, {"name": "batch"})


def test_elsewhere_it_is_the_function(monkeypatch, capsys):
    monkeypatch.setattr(ffi, "_ext", None)
    monkeypatch.setattr(ffi, "_reason", "the extension does not load: it is away")
    agreement.assert_identical(resfuse.fuse(network)(X), jax.jit(network)(X))
    _, rows, summary = table(capsys, network, X)
    assert all("XLA: the extension does not load: it is away" in row for row in rows)
    assert summary.startswith("0 of 2 convolutions on the kernel (not loaded)")


def test_explain_counts_weights_once(capsys):
    fast = resfuse.fuse(network)
    _, rows, summary = table(capsys, fast, X)
    packed = {int(row.split()[-1]) for row in rows}
    assert len(packed) == 1
    assert summary.startswith(f"2 of 2 convolutions on the kernel ({ffi.isa()}), with 0.0 MB")
    _, rows, _ = table(capsys, fast, X, KERNEL)
    assert all(row.endswith("in each call") for row in rows)
