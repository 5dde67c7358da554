"""What ``resfuse.jax_compat`` says of JAX's private parts, as of JAX 0.10.0 to 0.12.0."""

import jax
import jax.numpy as jnp
import pytest
from jax import lax
from jax.sharding import NamedSharding, PartitionSpec

from resfuse import jax_compat

X = jnp.ones(3)


def equation(function, *args):
    """The one equation of a function."""
    (eqn,) = jax.make_jaxpr(function)(*args).eqns
    return eqn


def conditional(function, *args):
    """The ``cond`` equation of a function, which has others that bring the index into range."""
    eqns = jax.make_jaxpr(function)(*args).eqns
    return next(eqn for eqn in eqns if eqn.primitive.name == "cond")


def values(jaxpr, *args):
    return [jnp.asarray(y).tolist() for y in jax.core.eval_jaxpr(jaxpr.jaxpr, jaxpr.consts, *args)]


SETTINGS = {
    "enable_x64": (jax.enable_x64, True),
    "default_matmul_precision": (jax.default_matmul_precision, "highest"),
    "numpy_rank_promotion": (jax.numpy_rank_promotion, "raise"),
    "default_prng_impl": (jax.default_prng_impl, "rbg"),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_trace_context_knows_settings(name):
    setting, value = SETTINGS[name]
    before = jax_compat.trace_context()
    with setting(value):
        inside = jax_compat.trace_context()
    assert before == jax_compat.trace_context() != inside
    assert hash(before) == hash(jax_compat.trace_context())


def test_trace_context_knows_the_mesh_and_axis_names():
    found = [jax_compat.trace_context()]
    with jax.set_mesh(jax.make_mesh((1,), ("batch",))):
        found.append(jax_compat.trace_context())
    jax.vmap(lambda x: found.append(jax_compat.trace_context()) or x, axis_name="i")(X)
    assert len(set(found)) == 3


def test_run():
    eqn = equation(lambda x: lax.top_k(x, 2), jnp.asarray([1.0, 3.0, 2.0]))
    y, index = jax_compat.run(eqn, [jnp.asarray([5.0, 4.0, 6.0])])
    assert (y.tolist(), index.tolist()) == ([6.0, 5.0], [2, 0])
    (y,) = jax_compat.run(equation(lambda x: x + 1, X), [X, X])
    assert y.tolist() == [2, 2, 2]


def test_run_calls_a_function_with_a_derivative_rule():
    (y,) = jax_compat.run(equation(jax.nn.relu6, X), [9 * X])
    assert y.tolist() == [6, 6, 6]


def test_jaxprs_in_params():
    eqn = conditional(lambda i, x: lax.switch(i, [jnp.sin, jnp.cos], x), 0, X)
    names = [jaxpr.eqns[0].primitive.name for jaxpr in jax_compat.jaxprs_in_params(eqn.params)]
    assert names == ["sin", "cos"]


def test_called():
    eqn = equation(jax.jit(lambda x: x + 1), X)
    assert eqn.primitive.name in jax_compat.CALLS
    assert values(jax_compat.called(eqn), X) == [[2, 2, 2]]
    assert jax_compat.called(equation(jnp.sin, X)) is None


def test_called_leaves_calls_with_shardings_and_call_again_keeps_them():
    sharding = NamedSharding(jax.make_mesh((1,), ("batch",)), PartitionSpec())
    eqn = equation(jax.jit(jnp.sin, out_shardings=sharding), X)
    assert jax_compat.called(eqn) is None
    again = equation(lambda x: jax_compat.call_again(eqn, jax.make_jaxpr(jnp.cos)(x), [x]), X)
    assert again.params["out_shardings"] == (sharding,)
    (y,) = jax_compat.call_again(eqn, jax.make_jaxpr(lambda x: x + 1)(X), [X])
    assert y.tolist() == [2, 2, 2]


def test_scanned():
    def function(x, constant):
        return lax.scan(lambda c, x: (c + x, constant), 0.0, x, reverse=True, unroll=3)

    eqn = equation(function, X, jnp.ones(2))
    body, constants, carried, options = jax_compat.scanned(eqn.params)
    assert (constants, carried, len(body.in_avals)) == (1, 1, 3)
    assert options | {"length": 3, "reverse": True, "unroll": 3} == options
    total, ones = lax.scan(lambda c, x: (c + x, 1.0), 0.0, X, **options)
    assert (total, ones.tolist()) == (3, [1, 1, 1])


def test_while_parts():
    def function(x, most, step):
        return lax.while_loop(lambda x: x < most, lambda x: x * step + step, x)

    condition, body, first, second = jax_compat.while_parts(
        equation(function, 1.0, 9.0, 2.0).params
    )
    assert (first, second) == (1, 1)
    assert values(condition, 9.0, 1.0) == [True]
    assert values(body, 2.0, 1.0) == [4]


def test_branches():
    eqn = conditional(lambda i: lax.switch(i, [lambda: 1.0, lambda: 2.0]), 1)
    assert [values(branch) for branch in jax_compat.branches(eqn.params)] == [[1], [2]]
    assert jax_compat.platforms(eqn.params) is None


def test_platforms():
    choice = lambda x: lax.platform_dependent(x, cpu=jnp.sin, default=jnp.cos)  # noqa: E731
    eqn = conditional(choice, X)
    assert jax_compat.platforms(eqn.params) == (("cpu",), None)
    cpu, default = jax_compat.branches(eqn.params)
    assert [b.eqns[0].primitive.name for b in (cpu, default)] == ["sin", "cos"]
    assert jax_compat.platforms({}) is None


def test_checkpointed():
    policy = jax.checkpoint_policies.dots_saveable
    function = jax.checkpoint(jnp.sin, policy=policy, prevent_cse=False)
    eqn = equation(function, X)
    assert eqn.primitive.name == jax_compat.CHECKPOINT
    body, options = jax_compat.checkpointed(eqn.params)
    assert options == {"prevent_cse": False, "policy": policy}
    assert body.eqns[0].primitive.name == "sin"
    jax.checkpoint(jnp.sin, **options)(X)


def test_checkpointed_leaves_derivatives():
    jaxpr = jax.make_jaxpr(lambda x: jax.vjp(jax.checkpoint(jnp.sin), x)[1](x))(X)
    derivatives = [e for e in jaxpr.eqns if e.primitive.name == jax_compat.CHECKPOINT]
    assert derivatives
    assert all(jax_compat.checkpointed(eqn.params) is None for eqn in derivatives)


def test_differentiable():
    with_vjp = jax.custom_vjp(lambda x: x + 1)
    with_vjp.defvjp(lambda x: (x, None), lambda _, g: (g,))
    for function, name in ((jax.nn.relu6, "custom_jvp_call"), (with_vjp, "custom_vjp_call")):
        eqns = jax.make_jaxpr(lambda x, f=function: f(x))(X).eqns
        while eqns[0].primitive.name in jax_compat.CALLS:
            eqns = jax_compat.called(eqns[0]).eqns
        assert eqns[0].primitive.name == name
        assert values(jax_compat.differentiable(eqns[0].params), X) == [function(X).tolist()]


def test_has_rule_of():
    for function, other in ((jax.nn.relu, jax.nn.relu6), (jax.nn.relu6, jax.nn.relu)):
        (eqn,) = jax.make_jaxpr(lambda x, f=function: f(x))(X).eqns
        assert jax_compat.has_rule_of(eqn.params, function)
        assert not jax_compat.has_rule_of(eqn.params, other)
        assert not jax_compat.has_rule_of({"jvp_jaxpr_fun": None}, function)


def test_has_axis_names():
    jaxprs = []

    def note(function):
        return lambda x: jaxprs.append(jax.make_jaxpr(function)(x)) or x

    jax.vmap(note(lambda x: lax.psum(x, "i")), axis_name="i")(X)
    jax.vmap(note(jnp.sin), axis_name="i")(X)
    assert list(map(jax_compat.has_axis_names, jaxprs)) == [True, False]


def test_is_eager():
    seen = [jax_compat.is_eager()]
    jax.vmap(lambda _: seen.append(jax_compat.is_eager()))(X)
    jax.make_jaxpr(lambda: seen.append(jax_compat.is_eager()))()
    with jax.ensure_compile_time_eval():
        seen.append(jax_compat.is_eager())
    assert seen == [True, False, False, True]


def test_with_weak_type():
    weak = jax_compat.with_weak_type(X, True)
    assert (weak.weak_type, weak.tolist()) == (True, X.tolist())
    assert not jax_compat.with_weak_type(weak, False).weak_type
    assert jax_compat.with_weak_type(X, False) is X


def test_literals_are_read_with_their_numbers():
    _, literal = equation(lambda x: x * 2.5, X).invars
    assert isinstance(literal, jax_compat.Literal)
    assert (literal.val, literal.aval.shape) == (2.5, ())


def test_default_platform():
    assert jax_compat.default_platform() == jax.default_backend()
    for device in (jax.devices()[-1], "cpu"):
        with jax.default_device(device):
            assert jax_compat.default_platform() == "cpu"


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        (None, None),
        ("bfloat16", lax.Precision.DEFAULT),
        ("tensorfloat32", lax.Precision.HIGH),
        ("float32", lax.Precision.HIGHEST),
        ("F32_F32_F32", lax.DotAlgorithmPreset.F32_F32_F32),
    ],
)
def test_default_precision(name, meant):
    """As ``jax.lax`` has it, whose operations hold what they were traced with."""
    convolve = lambda x: lax.conv(x, x, (1, 1), "SAME")  # noqa: E731
    with jax.default_matmul_precision(name):
        assert jax_compat.default_precision() == meant
        held = equation(convolve, jnp.ones((1, 1, 3, 3))).params["precision"]
    assert held in (meant, (meant, meant))


def test_result_types_in_a_shard_map_over_some_axes():
    """With what varies over the devices, as ``jax.ffi.ffi_call`` wants it."""
    some = jax.make_mesh((1, 1), ("i", "j"), axis_types=(jax.sharding.AxisType.Auto,) * 2)

    def function(x):
        types = jax_compat.result_types(lambda x: [2 * x, x.sum()], x)
        assert list(types) == [jax.typeof(2 * x), jax.typeof(x.sum())]
        jax.ffi.ffi_call("target", types)
        return x

    spec = PartitionSpec("i")
    jax.eval_shape(
        jax.shard_map(function, mesh=some, in_specs=spec, out_specs=spec, axis_names={"i"}), X
    )


def test_without_mesh():
    with jax.set_mesh(jax.make_mesh((1,), ("batch",))), jax_compat.without_mesh():
        assert jax.sharding.get_abstract_mesh().empty


IDENTITY = jax_compat.reverse_only("not forwards")


def test_reverse_only():
    function = lambda x: jnp.vdot(IDENTITY(x), x)  # noqa: E731
    assert jax.grad(function)(X).tolist() == [2, 2, 2]
    assert jax.jit(jax.vmap(jax.grad(function)))(X[None]).tolist() == [[2, 2, 2]]
    assert jax.grad(lambda x: jax.vmap(IDENTITY)(x[None]).sum())(X).tolist() == [1, 1, 1]
    both = lambda x, y: jnp.vdot(*IDENTITY((x, y)))  # noqa: E731
    assert jax.grad(both)(X, 2 * X).tolist() == (2 * X).tolist()
    for forwards in (lambda: jax.jvp(IDENTITY, (X,), (X,)), lambda: jax.jacfwd(IDENTITY)(X)):
        with pytest.raises(TypeError, match="not forwards"):
            forwards()


def test_naming_forward_mode():
    """The words of JAX's refusal, wherever it comes from."""
    with_vjp = jax.custom_vjp(lambda x: x)
    with_vjp.defvjp(lambda x: (x, None), lambda _, g: (g,))
    for function in (with_vjp, jax.jit(with_vjp)):
        with pytest.raises(TypeError, match="ours"), jax_compat.naming_forward_mode("ours"):
            jax.jacfwd(function)(X)
    with pytest.raises(TypeError, match="another"), jax_compat.naming_forward_mode("ours"):
        raise TypeError("another")


def test_heap_bytes():
    """An option that XLA does not know would be an error."""
    halved = jax.jit(lambda x: x / 2, compiler_options={jax_compat.HEAP_BYTES: 1 << 20})
    assert halved(2 * X).tolist() == X.tolist()
