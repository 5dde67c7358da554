"""The batch on two devices: the values of one device, and images that stay where they are."""

import jax
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from agreement import assert_identical, assert_near
from cases import OPS, call, exact, problem
from resfuse.kernel.train import pooled_statistics
from two_devices import IMAGES, check, loss, mesh, op_of, sharded


def run_sharded(function, arrays, kind=AxisType.Auto):
    """The result, and the program that computed it."""
    with jax.set_mesh(mesh(kind)):
        compiled = jax.jit(function).lower(arrays := sharded(arrays, mesh(kind))).compile()
        return compiled(arrays), compiled.as_text()


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit])
def test_values(op, kind):
    """In training, the statistics are those of the whole batch."""
    arrays = problem(op, x=(4, 6, 5, 4))
    arrays["x"] = arrays["x"].at[2:].add(3)  # a half of the batch unlike the other
    got, program = run_sharded(op_of(op)("ffi"), arrays, kind)
    assert_near(jax.tree.map(np.asarray, got), exact(op, arrays))
    assert "all-gather" not in program
    assert "resfuse_conv" in program
    y = jax.tree.leaves(got)[0]
    assert {shard.data.shape for shard in y.addressable_shards} == {(2, 6, 5, 6)}


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("constraint", [P(), P("batch")], ids=["whole", "split"])
def test_a_mesh_on_which_no_argument_lies(op, constraint):
    """JAX then tells a call neither the mesh nor the axes over which its operands are split."""
    arrays = problem(op, x=(4, 6, 5, 4))

    def function(arrays):
        x = jax.lax.with_sharding_constraint(arrays["x"], constraint)
        return call(op, arrays | {"x": x}, "ffi")

    with jax.set_mesh(mesh()):
        assert_near(jax.tree.map(np.asarray, jax.jit(function)(arrays)), exact(op, arrays))


@pytest.mark.parametrize(
    ("op", "kind"),
    [
        ("inference", AxisType.Explicit),
        ("training", AxisType.Auto),
        ("training", AxisType.Explicit),
    ],
)
def test_gradients(op, kind):
    arrays = problem(op, x=(4, 6, 5, 4))
    arrays["x"] = arrays["x"].at[2:].add(3)  # a half of the batch unlike the other
    got, program = run_sharded(jax.grad(loss(op)), arrays, kind)
    check(got, lambda implementation: jax.grad(loss(op, implementation)), arrays)
    assert "all-gather" not in program
    for name in ("x", "residual"):
        assert {shard.data.shape[0] for shard in got[name].addressable_shards} == {2}


@pytest.mark.parametrize("x64", [False, True])
def test_statistics_near_the_largest_numbers(x64):
    """Those of two parts are averaged without an overflow on the way, and in float32."""
    mean, var = np.float32([[3e38, 1, -2], [3e38, 3, 0]]), np.float32([[3e38, 4, 0], [3e38, 6, 0]])
    pooled = jax.shard_map(
        lambda mean, var: pooled_statistics((mean, mean, var), ("batch",))[1:],
        mesh=mesh(), in_specs=P("batch"), out_specs=P(),
    )  # fmt: skip
    with jax.enable_x64(x64):
        got = pooled(mean, var)
    assert_identical(list(got), [np.float32([[3e38, 2, -1]]), np.float32([[3e38, 6, 1]])])


def test_gradients_by_weights_alone():
    """Whose call has no images to keep where they are."""
    arrays = problem("training", x=(4, 6, 5, 4))

    def gradient(implementation="ffi"):
        def of_kernel(arrays):
            of = lambda kernel: loss("training", implementation)(arrays | {"kernel": kernel})  # noqa: E731
            return jax.grad(of)(arrays["kernel"])

        return of_kernel

    got, program = run_sharded(gradient(), arrays)
    check(got, gradient, arrays)
    assert "all-gather" not in program
    assert "resfuse_conv_weight_gradient" in program


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("images", [P(), P(None, "batch"), P(None, None, None, "batch")], ids=str)
def test_sharded_in_other_ways(op, images):
    """Replicated, by rows, by channels: gathered as need be, and right."""
    arrays = problem(op)
    got = jax.jit(op_of(op)("ffi"))(sharded(arrays, mesh(), images))
    assert_near(jax.tree.map(np.asarray, got), exact(op, arrays))


@pytest.mark.parametrize("op", OPS)
def test_a_batch_that_does_not_divide(op):
    """Three images inside a program that wants them on two devices: XLA pads."""
    arrays = problem(op, x=(3, 6, 5, 4))
    rows = NamedSharding(mesh(), P("batch"))

    def constrained(arrays):
        x = jax.lax.with_sharding_constraint(arrays["x"] * 2, rows)
        return call(op, arrays | {"x": x}, "ffi")

    got = jax.jit(constrained)(sharded(arrays, mesh(), P()))
    assert_near(jax.tree.map(np.asarray, got), exact(op, arrays | {"x": 2 * arrays["x"]}))


@pytest.mark.parametrize("op", OPS)
def test_weights_that_are_split(op):
    """Over the axes of a mesh whose other axis has the images: gathered as need be."""
    arrays = problem(op, x=(4, 6, 5, 4))
    both = jax.make_mesh((1, 2), ("batch", "channels"), axis_types=(AxisType.Auto,) * 2)
    specs = {name: P("batch") if name in IMAGES else P(*[None] * (a.ndim - 1), "channels")
             for name, a in arrays.items()}  # fmt: skip
    given = {
        name: jax.device_put(a, NamedSharding(both, specs[name])) for name, a in arrays.items()
    }
    got = jax.jit(op_of(op)("ffi"))(given)
    assert_near(jax.tree.map(np.asarray, got), exact(op, arrays))


@pytest.mark.parametrize("op", OPS)
def test_types_on_an_explicit_mesh(op):
    """Those of the reference, whichever operands are split, and so for the gradients."""
    arrays = problem(op, x=(4, 6, 5, 4))
    explicit = mesh(AxisType.Explicit)
    for name in ("residual", "scale"):
        given = {k: jax.device_put(a, NamedSharding(explicit, P("batch") if k == name else P()))
                 for k, a in arrays.items()}  # fmt: skip
        with jax.set_mesh(explicit):
            ours, theirs = (
                jax.jit(jax.value_and_grad(loss(op, i))).trace(given).jaxpr.out_avals
                for i in ("ffi", "xla")
            )
        assert ours == theirs, name
